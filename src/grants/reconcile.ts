import { type Clock, sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Engine, LeaseHandle, MintTarget } from '../engines/engine.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { about } from './end.ts'
import type { Grant } from './grant.ts'
import { byBroker } from './provenance.ts'
import { mintLostAfterMs, type Registry, targetLabel } from './registry.ts'

/** A mount and role that some Credential names, and whether the broker alone may use it. */
export interface Reconcilable {
  /** Name of the Credential document. */
  readonly name: string
  readonly target: MintTarget
  readonly exclusive: boolean
}

interface Deps {
  readonly registry: Registry
  readonly ledger: Ledger
  readonly engine: (kind: string) => Engine
  readonly hashLease: (handle: LeaseHandle) => string
  /** Every Credential of the policies in force. */
  readonly credentials: () => readonly Reconcilable[]
  readonly clock: Clock
  readonly log: Log
}

/**
 * Compares the leases that Vault lists with the ledger, so that invariant 2 holds after a crash or a lost answer:
 * a lease that no grant accounts for is revoked and recorded, and a mint without outcome is settled.
 */
export interface Reconciler {
  /** Revokes what mints of unknown outcome have left so far. For the start, when nothing else is under way. */
  revokeStrays(unsettled: readonly Grant[]): Promise<void>
  /** Revokes what those mints left and records them as failed. Only for mints that Vault can no longer be working on. */
  settle(unsettled: readonly Grant[]): Promise<void>
}

export function createReconciler(deps: Deps): Reconciler {
  async function strays({ target, name }: Reconcilable, unsettled: readonly Grant[]): Promise<readonly LeaseHandle[]> {
    const listed = await deps.engine(target.engine).leases(target)
    await othersMinted(deps, target, new Set(unsettled.map(({ id }) => id)))
    const found: LeaseHandle[] = []
    for (const lease of listed) {
      const handle = lease.handle.reveal()
      const known = await deps.registry.find([`lease=${deps.hashLease(handle)}`], { limit: 1 })
      if (known.length === 0) found.push(handle)
    }
    // A lease behind a wrapping token is known to nobody but its holder, so it looks like a stray.
    const live = await deps.registry.find([`credential=${name}`, 'live'], { limit: 10_000 })
    const hidden = live.filter((grant) => grant.delivery === 'wrapped' && grant.status === 'active').length
    return found.length > hidden ? found : []
  }

  async function revokeStraysOf(source: Reconcilable, unsettled: readonly Grant[]): Promise<void> {
    for (const handle of await strays(source, unsettled)) {
      const hash = deps.hashLease(handle)
      if (!source.exclusive) {
        await finding(
          deps,
          source.name,
          `a lease of ${targetLabel(source.target)} is not of this broker: ${hash.slice(0, 16)}`,
        )
        continue
      }
      await deps.engine(source.target.engine).revoke(handle)
      await deps.ledger.append({
        ...byBroker('reconcile'),
        credential: source.name,
        kind: 'grant.ended',
        cause: 'orphan',
        outcome: 'revoked',
        lease_hash: hash,
      })
      deps.log.warn({ credential: source.name, lease_hash: hash }, 'orphan_revoked')
    }
  }

  /** Runs `then` for each mount and role once its strays are gone; one that cannot be reached keeps its grants unsettled. */
  async function eachTarget(
    unsettled: readonly Grant[],
    then: (grants: readonly Grant[]) => Promise<void>,
  ): Promise<void> {
    for (const [label, grants] of Map.groupBy(unsettled, (grant) => targetLabel(grant.target))) {
      const source = deps.credentials().find(({ target }) => targetLabel(target) === label)
      try {
        if (source !== undefined) await revokeStraysOf(source, grants)
        else
          await finding(
            deps,
            grants[0]?.credential,
            `no Credential names ${label} any more; its leases were not compared`,
          )
        await then(grants)
      } catch (error) {
        deps.log.error({ target: label, grants: grants.length, error: messageOf(error) }, 'reconcile_failed')
      }
    }
  }

  return {
    revokeStrays: (unsettled) => eachTarget(unsettled, async () => {}),
    settle: (unsettled) =>
      eachTarget(unsettled, async (grants) => {
        for (const grant of grants) {
          await deps.registry.record(grant, {
            ...about(grant),
            ...byBroker('reconcile'),
            kind: 'grant.failed',
            code: 'vault_unavailable',
            ambiguous: true,
            detail: 'the mint had no recorded outcome; whatever it left in Vault is revoked',
          })
        }
      }),
  }
}

/** A lease listed a moment ago may belong to a mint that is still on its way to the ledger: waits for those. */
async function othersMinted(deps: Deps, target: MintTarget, except: ReadonlySet<string>): Promise<void> {
  for (const { id } of await deps.registry.find([`minting=${targetLabel(target)}`], { limit: 10_000 })) {
    if (except.has(id)) continue
    for (;;) {
      const grant = await deps.registry.get(id)
      const minting = grant?.status === 'minting' && deps.clock.now() < grant.openedAtMs + mintLostAfterMs
      if (!minting) break
      await sleep(deps.clock, 20)
    }
  }
}

async function finding(deps: Deps, credential: string | undefined, detail: string): Promise<void> {
  await deps.ledger.append({
    ...byBroker('reconcile'),
    credential,
    kind: 'finding.opened',
    finding: `stray-lease-${credential ?? 'unknown'}`,
    severity: 'warning',
    detail,
  })
}
