import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { RequestId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import { ok, type Refusal, type Result } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { Approvals } from '../grants/approvals.ts'
import type { Findings } from '../grants/findings.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import { createEndings } from './endings.ts'
import { createFollowedSignals, effectIn } from './followed.ts'
import { createReceiver, type Received, type ReceiverDeps, setKey } from './receive.ts'
import { type Bearer, createStandings } from './standing.ts'
import { subjectKey, workloadsWithSub } from './subject.ts'
import { createLeaverWatch } from './watch.ts'

/** Outside events that change trust: what is received, what it did to whom, and the members who have left. */
export interface Signals {
  /**
   * Takes one SET (RFC 8417). When this resolves the signal is on record and nothing new is issued against it; ending what its
   * subject holds has begun. @throws BrokerFault `ledger_unavailable`, `state_unavailable`
   */
  receive(text: string, request: RequestId): Promise<Result<void>>
  /** Whether tokens of this identity are still good. Refuses `account_disabled` and `session_revoked`. */
  check(identity: Bearer): Promise<Result<void>>
  /** Whether a person (`issuer/subject`) has left, so that a yes of theirs counts no longer. */
  hasLeft(person: string): boolean
  /** The refusal of a workload for which nobody is left to answer, once its grace is over. */
  unanswered(set: PolicySet, workload: string): Refusal | undefined
  /** Shown every entry at a start, in order: puts memory where the record left it. */
  recall(stored: StoredEntry): Promise<void>
  /** Shown every entry from then on. */
  see(stored: StoredEntry): void
  /** Until when (ms since the epoch) the SET that an entry tells of must be remembered. */
  rememberedUntilMs(entry: StoredEntry['entry']): number | undefined
  /** Indexes of the entries that a next start must be shown. */
  list(): readonly number[]
  start(): void
  stop(): Promise<void>
}

interface Deps extends Omit<ReceiverDeps, 'standings' | 'findings' | 'state'>, Omit<EndingsDeps, 'standings'> {
  readonly state: StandingsDeps['state']
  readonly approvals: Pick<Approvals, 'denyOf'>
  readonly findings: Findings
  /** How long (seconds) after it was received a SET of this issuer may still be accepted by some clock. */
  readonly setLifeSeconds: (issuer: IssuerPolicy) => number
  readonly clock: Clock
  readonly log: Log
}
type EndingsDeps = Parameters<typeof createEndings>[0]
type StandingsDeps = Parameters<typeof createStandings>[0]

/** What a signal should have ended and did not is looked for again after so long. */
const retryMs = 5_000

export function createSignals(deps: Deps): Signals {
  const { policies, state, findings, approvals, clock, log } = deps
  const issuers = () => policies().issuers
  const standings = createStandings({ state, issuers, clock })
  const followed = createFollowedSignals({ issuers, now: clock.now })
  const endings = createEndings({ ...deps, standings })
  const receiver = createReceiver({ ...deps, standings })
  const { disabled: departed } = standings
  const watch = createLeaverWatch({ findings, policies, departed, endings, clock, log })
  const underWay = new Set<Promise<void>>()
  let again: Timer | undefined

  function run(work: Promise<void>): void {
    const watched = work
      .catch((error: unknown) => {
        log.error({ error: messageOf(error) }, 'signal_failed')
        again = clock.after(retryMs, () => run(endings.endLeftOvers()))
      })
      .finally(() => underWay.delete(watched))
    underWay.add(watched)
  }

  async function carryOut({ event, subjects, by }: Received): Promise<void> {
    if (event.effect !== 'ended' && event.effect !== 'disabled') {
      if (subjects.length > 0) await watch.once()
      return
    }
    for (const subject of subjects) {
      const workloads = workloadsWithSub(policies(), subject).map(({ name }) => name)
      if (event.effect === 'disabled') await approvals.denyOf(subjectKey(subject), by)
      await endings.endSubject(subject, workloads, event.beforeMs, { reason: event.name, by })
    }
    if (event.effect === 'disabled') await watch.once()
  }

  function rememberedUntilMs(entry: StoredEntry['entry']): number | undefined {
    if (entry.kind !== 'signal.received' || entry.set === undefined) return undefined
    const issuer = issuers().find(({ name }) => name === entry.source)
    return issuer === undefined ? undefined : Date.parse(entry.time) + deps.setLifeSeconds(issuer) * 1000
  }

  return {
    async receive(text, request) {
      const received = await receiver(text, request)
      if (!received.ok) return received
      run(carryOut(received.value))
      return ok(undefined)
    },
    check: standings.check,
    hasLeft: (person) => departed().has(person),
    unanswered(set, workload) {
      const orphaned = watch.orphaned(set, workload)
      if (orphaned === undefined || orphaned.deadlineMs > clock.now()) return undefined
      const detail = `${orphaned.detail}; the grace ended ${timeText(orphaned.deadlineMs)}`
      return { code: 'owner_missing', reasons: [{ rule: 'workload.leavers', ok: false, detail }] }
    },
    async recall(stored) {
      followed.see(stored)
      const { entry } = stored
      if (entry.kind !== 'signal.received') return
      const untilMs = rememberedUntilMs(entry)
      if (entry.set !== undefined && untilMs !== undefined && untilMs > clock.now())
        await state.claim(setKey(entry.set), untilMs)
      const found = effectIn(entry)
      if (found !== undefined) await standings.apply(found.subject, found.effect, found.atMs)
    },
    see: followed.see,
    rememberedUntilMs,
    list: followed.list,
    start() {
      run(endings.endLeftOvers())
      run(watch.once())
      watch.start()
    },
    async stop() {
      again?.cancel()
      await watch.stop()
      while (underWay.size > 0) await Promise.all(underWay)
    },
  }
}
