import type { EngineDeps } from './deps.ts'
import type { Engine, MintTarget } from './engine.ts'
import { createLeasedUserEngine } from './leased-user.ts'
import { isStaticRole, mintStaticUser, staticRolePath } from './static-role.ts'

/** Users of a database: made by a dynamic role and ended with their lease, or one that stands and whose password Vault rotates. */
export function createDatabaseEngine(deps: EngineDeps): Engine {
  const dynamic = createLeasedUserEngine(deps, { kind: 'database', idType: 'database_user' })
  return {
    ...dynamic,
    revocable: (target: MintTarget) => !isStaticRole(target),
    mint: (order) => (isStaticRole(order.target) ? mintStaticUser(deps, order) : dynamic.mint(order)),
    leases: async (target) => (isStaticRole(target) ? undefined : dynamic.leases(target)),
    needs: (target, delivery) =>
      isStaticRole(target) ? [{ path: staticRolePath(target), capability: 'read' }] : dynamic.needs(target, delivery),
  }
}
