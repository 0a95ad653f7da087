import { type Clock, sleep } from '../base/clock.ts'
import { createPacer } from '../base/pacer.ts'
import type { Secret } from '../base/secret.ts'
import type { Engine, LeaseHandle } from '../engines/engine.ts'
import type { Grant } from './grant.ts'
import type { Pace, Series } from './pace.ts'
import { mintLostAfterMs, type Registry } from './registry.ts'
import type { Source } from './sources.ts'

/** How far Vault's clock may be from ours when a lease is matched with a grant by time. */
const clockToleranceMs = 60_000
/** Vault ends what a revoked token leased through a queue; so long after the end of its grant, a lease still counts as its own. */
const queueMs = 60_000

interface Deps {
  readonly registry: Registry
  readonly engine: (kind: string) => Engine
  readonly hashLease: (handle: LeaseHandle) => string
  readonly pace: Pace
  readonly clock: Clock
}

/** What a list of leases and the grants had in common, and what not. */
export interface Strays {
  readonly leases: number
  /** Leases that were not known when the list was made. */
  readonly unknown: number
  readonly spared: number
  /** Whether any was a stray. */
  readonly any: boolean
  readonly series: Series
}

interface Order {
  readonly source: Source
  readonly listed: Iterable<Secret<LeaseHandle>>
  /** Grants by the hash of their lease, as they were before the list was made. What is listed is taken out. */
  readonly known: Map<string, Grant>
  /** Grants whose mint is not waited for. */
  readonly except?: ReadonlySet<string>
  /** Stops after the first one. */
  readonly first?: boolean
  onStray(handle: LeaseHandle, hash: string): Promise<void>
}

/**
 * Finds leases that no grant accounts for. A lease is made after the intent of its grant is on record and before its issuance is, so
 * one that is listed and not known is looked at again once every mint has come to its end that was under way when it was listed.
 */
export function createStrayFinder(deps: Deps): (order: Order) => Promise<Strays> {
  const { registry, pace, clock } = deps
  // When leases were made that may be behind wrapping tokens: they are listed in every round, and asked about once.
  const times = new Map<string, ReadonlyMap<string, number>>()

  return async ({ source, listed, known, except = new Set(), first = false, onStray }) => {
    const pause = createPacer()
    const unknown: Secret<LeaseHandle>[] = []
    let leases = 0
    for (const handle of listed) {
      leases += 1
      if (!known.delete(deps.hashLease(handle.reveal()))) unknown.push(handle)
      await pause()
    }
    await mintsUnderWay(source.label, except)
    const mayBeWrapped = await wrappedTimes(source.label)
    const before = times.get(source.label)
    const sparedTimes = new Map<string, number>()
    const engine = deps.engine(source.engine)
    let found = false

    async function look(secret: Secret<LeaseHandle>): Promise<void> {
      if (first && found) return
      const handle = secret.reveal()
      const hash = deps.hashLease(handle)
      if ((await registry.find([`lease=${hash}`], { limit: 1 })).length > 0) return
      const remembered = before?.get(hash)
      if (remembered !== undefined && mayBeWrapped(remembered)) return void sparedTimes.set(hash, remembered)
      const state = await engine.lookUp(handle)
      // Ended since it was listed, by an end that is on record.
      if (!state.live) return
      if (state.issuedAtMs !== undefined && mayBeWrapped(state.issuedAtMs)) {
        sparedTimes.set(hash, state.issuedAtMs)
        return
      }
      found = true
      await onStray(handle, hash)
    }

    const series = await pace.each(unknown, look)
    if (sparedTimes.size > 0) times.set(source.label, sparedTimes)
    else times.delete(source.label)
    return { leases, unknown: unknown.length, spared: sparedTimes.size, any: found, series }
  }

  /** A lease that was listed may belong to a mint that is still on its way to the ledger: waits for those. */
  async function mintsUnderWay(label: string, except: ReadonlySet<string>): Promise<void> {
    for await (const { id } of registry.walk([`minting=${label}`])) {
      while (!except.has(id) && !pace.stopped) {
        const grant = await registry.get(id)
        const minting = grant !== undefined && grant.status !== 'ended' && grant.ledger.issued === undefined
        if (!minting || grant.mintLost || clock.now() >= grant.openedAtMs + mintLostAfterMs) break
        await sleep(clock, 20)
      }
    }
  }

  /**
   * Whether a lease made at that moment may be the one behind a grant's wrapping token. Only the holder of that token knows
   * the lease, so time is all there is to go by; in doubt the lease is spared, and ends with the grant's own token.
   */
  async function wrappedTimes(label: string): Promise<(issuedAtMs: number) => boolean> {
    const spans: { fromMs: number; toMs: number }[] = []
    for await (const grant of registry.walk([`wrapped=${label}`])) {
      if (grant.status === 'ended' && (grant.endedAtMs ?? 0) < clock.now() - queueMs) continue
      const fromMs = grant.openedAtMs - clockToleranceMs
      const toMs = (grant.issuedAtMs ?? grant.openedAtMs + mintLostAfterMs) + clockToleranceMs
      const last = spans.at(-1)
      // They come in the order in which they were opened, so that most of them are one span.
      if (last !== undefined && fromMs >= last.fromMs && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs)
      else spans.push({ fromMs, toMs })
    }
    return (issuedAtMs) => spans.some(({ fromMs, toMs }) => issuedAtMs >= fromMs && issuedAtMs <= toMs)
  }
}
