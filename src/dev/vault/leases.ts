import type { Clock, Timer } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { VaultError } from './backend.ts'
import { spoken } from './fields.ts'
import { randomText } from './random.ts'

/** A secret that ends: by its timer, by request, or with the token that asked for it. */
export interface Lease {
  readonly id: string
  readonly tokenId: string
  readonly issuedMs: number
  expiresMs: number
  lastRenewalMs: number | undefined
  readonly renewable: boolean
}

interface Held extends Lease {
  readonly maxMs: number
  readonly defaultSeconds: number
  readonly end: () => Promise<void>
  readonly extend: ((expiresMs: number) => Promise<void>) | undefined
  timer: Timer
  attempts: number
  ending: Promise<void> | undefined
}

/** What a secrets engine says about a secret it has just made. */
interface NewLease {
  /** Such as `database/creds/orders-ro/`; a random name is added. */
  readonly prefix: string
  readonly tokenId: string
  readonly ttlSeconds: number
  readonly maxTtlSeconds: number
  readonly renewable: boolean
  /** Ends the secret for real. Ending it twice must do no harm. */
  end(): Promise<void>
  /** Moves the end in the target system too, where that knows one. */
  extend?(expiresMs: number): Promise<void>
}

export interface Leases {
  add(lease: NewLease): Lease
  find(id: string): Lease | undefined
  /** @throws VaultError 400 when there is no such lease or it cannot be renewed */
  renew(id: string, incrementSeconds: number | undefined): Promise<{ lease: Lease; warnings: readonly string[] }>
  /** Resolves when the secret has ended, or at once when there is none of that name. */
  revoke(id: string): Promise<void>
  /** Starts ending it and does not wait. */
  revokeSoon(id: string): void
  revokePrefix(prefix: string): Promise<void>
  /** Forgets leases that cannot be ended, as `revoke-force` does. */
  forgetPrefix(prefix: string): Promise<void>
  revokeOfToken(tokenId: string): Promise<void>
  /** Names right below a prefix; those that go on end in a slash. */
  list(prefix: string): readonly string[]
  halt(): void
}

// Vault gives up after six attempts, ten seconds and doubling apart, and calls the lease irrevocable.
const maxAttempts = 6
const firstRetryMs = 10_000

/** The lease table: memory only, since a development server forgets everything when it stops. */
export function createLeases(deps: { clock: Clock; log: Log }): Leases {
  const { clock, log } = deps
  const held = new Map<string, Held>()

  // Whoever asked for the end, one that failed is tried again by itself: nobody may have to come back for it.
  const end = (lease: Held): Promise<void> => {
    lease.ending ??= (async () => {
      lease.timer.cancel()
      try {
        await lease.end()
        held.delete(lease.id)
      } catch (error) {
        lease.attempts++
        // The reason may quote SQL or a connection string, so only the place is named.
        log.warn({ lease: lease.id.slice(0, lease.id.lastIndexOf('/')), attempt: lease.attempts }, 'lease not ended')
        const delayMs = firstRetryMs * 2 ** (lease.attempts - 1)
        if (lease.attempts < maxAttempts) lease.timer = clock.after(delayMs, () => endInBackground(lease))
        throw error
      } finally {
        lease.ending = undefined
      }
    })()
    return lease.ending
  }
  const endInBackground = (lease: Held): void => void end(lease).catch(() => {})

  const arm = (lease: Held): void => {
    lease.timer.cancel()
    lease.timer = clock.after(lease.expiresMs - clock.now(), () => endInBackground(lease))
  }

  const under = (prefix: string): Held[] => [...held.values()].filter((lease) => lease.id.startsWith(prefix))
  const endAll = async (leases: readonly Held[]): Promise<void> => {
    const outcomes = await Promise.allSettled(leases.map(end))
    if (outcomes.some((outcome) => outcome.status === 'rejected')) {
      throw new VaultError(400, 'failed to revoke one or more leases')
    }
  }

  return {
    add(fresh) {
      const nowMs = clock.now()
      const lease: Held = {
        id: `${fresh.prefix}${randomText(24)}`,
        tokenId: fresh.tokenId,
        issuedMs: nowMs,
        expiresMs: nowMs + fresh.ttlSeconds * 1000,
        lastRenewalMs: undefined,
        renewable: fresh.renewable,
        maxMs: nowMs + fresh.maxTtlSeconds * 1000,
        defaultSeconds: fresh.ttlSeconds,
        end: () => fresh.end(),
        extend: fresh.extend?.bind(fresh),
        timer: { cancel: () => {} },
        attempts: 0,
        ending: undefined,
      }
      held.set(lease.id, lease)
      arm(lease)
      return lease
    },
    find: (id) => held.get(id),
    async renew(id, incrementSeconds) {
      const lease = held.get(id)
      if (lease === undefined || lease.ending !== undefined || lease.expiresMs <= clock.now()) {
        throw new VaultError(400, 'lease not found')
      }
      if (!lease.renewable) throw new VaultError(400, 'lease is not renewable')
      const nowMs = clock.now()
      const asked = incrementSeconds === undefined || incrementSeconds === 0 ? lease.defaultSeconds : incrementSeconds
      const leftSeconds = Math.round((lease.maxMs - nowMs) / 1000)
      if (leftSeconds <= 0) throw new VaultError(400, 'past the max TTL, cannot renew')
      const expiresMs = nowMs + Math.min(asked, leftSeconds) * 1000
      await lease.extend?.(expiresMs)
      lease.expiresMs = expiresMs
      lease.lastRenewalMs = nowMs
      arm(lease)
      const warnings =
        asked > leftSeconds
          ? [
              `TTL of "${spoken(asked)}" exceeded the effective max_ttl of "${spoken(leftSeconds)}"; TTL value is capped accordingly`,
            ]
          : []
      return { lease, warnings }
    },
    async revoke(id) {
      const lease = held.get(id)
      if (lease !== undefined) await endAll([lease])
    },
    revokeSoon(id) {
      const lease = held.get(id)
      if (lease !== undefined) endInBackground(lease)
    },
    revokePrefix: (prefix) => endAll(under(prefix)),
    async forgetPrefix(prefix) {
      for (const lease of under(prefix)) {
        await end(lease).catch(() => {})
        lease.timer.cancel()
        held.delete(lease.id)
      }
    },
    revokeOfToken: (tokenId) => endAll([...held.values()].filter((lease) => lease.tokenId === tokenId)),
    list(prefix) {
      const names = new Set<string>()
      for (const lease of under(prefix)) {
        const rest = lease.id.slice(prefix.length)
        const slash = rest.indexOf('/')
        names.add(slash === -1 ? rest : rest.slice(0, slash + 1))
      }
      return [...names].sort()
    },
    halt() {
      for (const lease of held.values()) lease.timer.cancel()
    },
  }
}
