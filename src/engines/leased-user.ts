import { z } from 'zod'
import { Secret } from '../base/secret.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, LeaseHandle, Minted, MintOrder, MintTarget, PublicId } from './engine.ts'
import { AmbiguousMint, VaultFault } from './faults.ts'
import { orGiveUp } from './give-up.ts'
import { fitLease } from './lease-life.ts'
import { paramsOf, vaultPath } from './target.ts'

const credentials = z.object({ username: z.string().min(1).max(200), password: z.string().min(1) })
/** Dropping a user waits for locks on what it owns, or for its connections to close. */
const revokeDeadlineMs = 30_000
const noParams = z.strictObject({})

/** How the engines that make users differ. */
interface UserKind {
  readonly kind: string
  readonly idType: PublicId['type']
}

/** Users that a mount makes and ends with their lease (`GET mount/creds/role`). */
export function createLeasedUserEngine(deps: EngineDeps, { kind, idType }: UserKind): Engine {
  const { session, leases, clock } = deps

  const revoke = (handle: LeaseHandle): Promise<void> => leases.revoke(handle, revokeDeadlineMs)

  async function mint(order: MintOrder): Promise<Minted> {
    paramsOf(noParams, order.target)
    const path = vaultPath(order.target.mount, 'creds', order.target.role)
    if (order.delivery === 'wrapped') {
      return deps.mintWrapped({ order, leased: true, call: (options) => session.read(path, options) })
    }
    const startedMs = clock.now()
    const answer = await session.read(path, { mints: true })
    const parsed = credentials.safeParse(answer.data)
    if (!parsed.success || answer.lease_id === '') {
      throw new AmbiguousMint(new VaultFault('unreadable', `GET ${path}: the answer holds no leased user`))
    }
    const handle: LeaseHandle = { type: 'lease', id: answer.lease_id }
    const lease = {
      handle,
      what: `GET ${path}`,
      startedMs,
      seconds: answer.lease_duration,
      renewable: answer.renewable,
    }
    const expiresAtMs = await orGiveUp(
      () => fitLease(leases, lease, order.ttlSeconds),
      () => revoke(handle),
    )
    return {
      secret: new Secret(parsed.data),
      handle: new Secret(handle),
      expiresAtMs,
      renewable: answer.renewable,
      publicIds: [{ type: idType, value: parsed.data.username }],
      generation: answer.generation,
    }
  }

  return {
    kind,
    revocable: () => true,
    acceptedParams: [],
    mint,
    renew: leases.renew,
    revoke,
    leases: (target: MintTarget) => leases.list(target.mount, 'creds', target.role),
    lookUp: leases.lookUp,
    needs: ({ mount, role }, delivery) => [
      { path: `${mount}/creds/${role}`, capability: 'read' },
      ...leaseNeeds(`${mount}/creds/${role}`, delivery),
    ],
  }
}

/** What Vault must allow for the leases of one path. */
export function leaseNeeds(
  path: string,
  delivery: MintOrder['delivery'] = 'plain',
): readonly { readonly path: string; readonly capability: string }[] {
  const lookup = `sys/leases/lookup/${path}/`
  return [
    { path: 'sys/leases/renew', capability: 'update' },
    { path: 'sys/leases/lookup', capability: 'update' },
    { path: 'sys/leases/revoke', capability: 'update' },
    { path: lookup, capability: 'list' },
    { path: lookup, capability: 'sudo' },
    ...(delivery === 'wrapped' ? wrappedNeeds : []),
  ]
}

const wrappedNeeds = [
  { path: 'auth/token/create', capability: 'update' },
  { path: 'auth/token/lookup-accessor', capability: 'update' },
  { path: 'auth/token/revoke-accessor', capability: 'update' },
]
