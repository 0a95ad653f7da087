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
  /** Compares every mount and role that belongs to the broker alone. Never rejects. */
  all(): Promise<void>
}

/** How far Vault's clock may be from ours when a lease is matched with a grant by time. */
const clockToleranceMs = 60_000

const retrySettlingMs = 30_000

export function createReconciler(deps: Deps): Reconciler {
  /** Leases that no grant accounts for. */
  async function strays({ target }: Reconcilable, unsettled: readonly Grant[]): Promise<readonly LeaseHandle[]> {
    const listed = await deps.engine(target.engine).leases(target)
    await othersMinted(deps, target, new Set(unsettled.map(({ id }) => id)))
    const wrapped = await deps.registry.find([`wrapped=${targetLabel(target)}`], { limit: 100_000 })
    const found: LeaseHandle[] = []
    for (const lease of listed) {
      const handle = lease.handle.reveal()
      if ((await deps.registry.find([`lease=${deps.hashLease(handle)}`], { limit: 1 })).length > 0) continue
      const issuedAtMs = await lease.issuedAtMs()
      // Gone since it was listed, by an end that we have recorded ourselves.
      if (issuedAtMs === undefined) continue
      if (!wrapped.some((grant) => mayBeOf(grant, issuedAtMs))) found.push(handle)
    }
    return found
  }

  const turns = new Map<string, Promise<void>>()

  /** One comparison of a mount and role at a time: two would both revoke, and both record, what they find. */
  function revokeStraysOf(source: Reconcilable, unsettled: readonly Grant[]): Promise<void> {
    const label = targetLabel(source.target)
    const mine = (turns.get(label) ?? Promise.resolve()).then(() => compareAndRevoke(source, unsettled))
    turns.set(
      label,
      mine.catch(() => {}),
    )
    return mine
  }

  async function compareAndRevoke(source: Reconcilable, unsettled: readonly Grant[]): Promise<void> {
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
        // They wait their turn again, so that many of them cannot keep what else is due from being looked at.
        const retryAtMs = deps.clock.now() + retrySettlingMs
        for (const { id, openedAtMs } of grants) {
          await deps.registry.update(id, (present) =>
            present.ledger.issued === undefined && present.status !== 'ended'
              ? { ...present, retryAtMs: Math.max(retryAtMs, openedAtMs + mintLostAfterMs) }
              : undefined,
          )
        }
      }
    }
  }

  return {
    async all() {
      for (const source of deps.credentials().filter(({ exclusive }) => exclusive)) {
        try {
          await revokeStraysOf(source, [])
        } catch (error) {
          deps.log.error({ credential: source.name, error: messageOf(error) }, 'reconcile_failed')
        }
      }
    },
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

/**
 * Whether a lease made at that moment may be the one behind a grant's wrapping token. Only the holder of that token knows
 * the lease, so time is all there is to go by; in doubt the lease is spared, and ends with the grant's own token.
 */
const mayBeOf = (grant: Grant, leaseIssuedAtMs: number): boolean =>
  grant.status !== 'ended' &&
  leaseIssuedAtMs >= grant.openedAtMs - clockToleranceMs &&
  leaseIssuedAtMs <= (grant.issuedAtMs ?? grant.openedAtMs + mintLostAfterMs) + clockToleranceMs

/** A lease listed a moment ago may belong to a mint that is still on its way to the ledger: waits for those. */
async function othersMinted(deps: Deps, target: MintTarget, except: ReadonlySet<string>): Promise<void> {
  for (const { id } of await deps.registry.find([`minting=${targetLabel(target)}`], { limit: 10_000 })) {
    if (except.has(id)) continue
    for (;;) {
      const grant = await deps.registry.get(id)
      const minting =
        grant?.status === 'minting' && !grant.mintLost && deps.clock.now() < grant.openedAtMs + mintLostAfterMs
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
