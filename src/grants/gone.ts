import type { Clock } from '../base/clock.ts'
import type { GrantId } from '../base/ids.ts'
import { timeText } from '../contract/fields.ts'
import type { Engine, LeaseHandle, LeaseState } from '../engines/engine.ts'
import type { Ender } from './end.ts'
import type { Grant } from './grant.ts'
import type { Pace, Series } from './pace.ts'
import type { Provenance } from './provenance.ts'
import type { Registry } from './registry.ts'
import type { Source } from './sources.ts'

/** What expires this soon ends by itself, and for that reason. */
const expiresSoonMs = 10_000
/** What a standby of Vault does not know it may not know yet; it must not know it for this long. */
const standbyProofMs = 30_000
/** How far Vault's clock may be from ours when a grant is compared with the age of a token. */
const clockToleranceMs = 60_000

interface Deps {
  readonly registry: Registry
  readonly engine: (kind: string) => Engine
  readonly openLease: (sealed: string) => Promise<LeaseHandle>
  readonly ender: Ender
  readonly pace: Pace
  readonly clock: Clock
  /** Whether what Vault says now is its last word: a standby may be behind. */
  readonly authoritative: () => Promise<boolean>
  /** Since when the broker has had the Vault token it uses now (by Vault's clock); `undefined` when Vault does not say. */
  readonly tokenSinceMs: () => Promise<number | undefined>
}

/** A grant whose secret has ended in Vault and not by us. */
export interface Gone {
  readonly grant: GrantId
  readonly credential: string
  readonly detail: string
}

interface Order {
  readonly source: Source
  /** Grants that were active before Vault was asked, and that its answer did not show to be live. */
  readonly suspects: readonly Grant[]
  readonly dryRun: boolean
  readonly by: Provenance
  onGone(gone: Gone): void
}

export interface GoneCheck {
  /** Ends those of the suspects of which Vault says plainly, asked about each, that they have ended. */
  check(order: Order): Promise<{ readonly unproved: number; readonly series: Series }>
  /** Starts a round: what was suspected before the last one is forgotten. */
  begin(): void
}

export function createGoneCheck(deps: Deps): GoneCheck {
  const { registry, ender, clock } = deps
  let doubts = new Map<GrantId, number>()
  let earlier = new Map<GrantId, number>()
  let tokenSince: Promise<number | undefined> | undefined

  const still = async (id: GrantId): Promise<Grant | undefined> => {
    const grant = await registry.get(id)
    if (grant?.status !== 'active' || grant.lease === undefined) return undefined
    return (grant.expiresAtMs ?? Number.MAX_SAFE_INTEGER) > clock.now() + expiresSoonMs ? grant : undefined
  }

  /** A standby that says twice, long enough apart, that it does not know a secret has heard of its end. */
  function proved(id: GrantId, authoritative: boolean): boolean {
    const now = clock.now()
    const since = earlier.get(id) ?? now
    if (authoritative || now - since >= standbyProofMs) return true
    doubts.set(id, since)
    return false
  }

  return {
    begin() {
      earlier = doubts
      doubts = new Map()
      tokenSince = undefined
    },
    async check({ source, suspects, dryRun, by, onGone }) {
      const authoritative = suspects.length > 0 && (await deps.authoritative())
      const engine = deps.engine(source.engine)
      let unproved = 0
      const series = await deps.pace.each(suspects, async ({ id }) => {
        const grant = await still(id)
        if (grant?.lease === undefined) return
        const handle = await deps.openLease(grant.lease.sealed)
        const state = await engine.lookUp(handle)
        if (state.live) return
        if (!proved(id, authoritative)) {
          unproved += 1
          return
        }
        // Vault was asked meanwhile, and an end of ours looks the same to it.
        if ((await still(id)) === undefined) return
        tokenSince ??= deps.tokenSinceMs().catch(() => undefined)
        const detail = whyGone(grant, handle, state, await tokenSince)
        const gone: Gone = { grant: id, credential: grant.credential, detail }
        if (dryRun) return onGone(gone)
        // On the one path on which grants end: should Vault hold the secret after all, it is revoked now.
        const { outcome } = await ender.end(grant, { cause: 'found_gone', detail, by })
        if (outcome === 'gone') onGone(gone)
      })
      return { unproved, series }
    },
  }
}

/** What can be told of why, from the kind of the handle and from times. */
function whyGone(
  grant: Grant,
  handle: LeaseHandle,
  state: Extract<LeaseState, { live: false }>,
  tokenSinceMs: number | undefined,
): string {
  const until = grant.expiresAtMs === undefined ? '' : `; it was to live until ${timeText(grant.expiresAtMs)}`
  if (handle.type === 'certificate') {
    const at = state.endedAtMs === undefined ? '' : ` at ${timeText(state.endedAtMs)}`
    return `the certificate was revoked in Vault by somebody else${at}${until}`
  }
  const what =
    handle.type === 'accessor'
      ? 'Vault no longer knows the token made for this grant, and its lease ended with it'
      : 'Vault no longer knows the lease'
  const issuedMs = grant.issuedAtMs ?? grant.openedAtMs
  if (tokenSinceMs === undefined) return `${what}${until}`
  if (issuedMs < tokenSinceMs - clockToleranceMs) {
    const since = timeText(tokenSinceMs)
    return `${what}${until}; made under a Vault token of the broker from before ${since}, it most likely ended with that token`
  }
  if (issuedMs <= tokenSinceMs + clockToleranceMs) return `${what}${until}`
  return `${what}${until}; the Vault token it was made under lives, so somebody revoked it, or Vault went back to an earlier state`
}
