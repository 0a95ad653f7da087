import type { Clock } from '../base/clock.ts'
import { sha256Hex } from '../base/digest.ts'
import type { RequestId } from '../base/ids.ts'
import { ok, type Refusal, type Result, refuse } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { Findings } from '../grants/findings.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { SignedSet } from '../identity/set.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Refusals } from '../ledger/refusals.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { State } from '../state/state.ts'
import { readEvent, type SignalEvent } from './event.ts'
import { renamedFinding } from './findings.ts'
import { readSubject } from './identifier.ts'
import type { Standings } from './standing.ts'
import { type Matched, matchSubjects, type Subject, workloadsWithSub } from './subject.ts'

/** What happened to a signal, for the metrics: both words are from short lists. */
export type CountSignal = (signal: string, outcome: 'received' | 'refused') => void

/** A signal that is on record and in force; what it ends is still to be ended. */
export interface Received {
  readonly event: SignalEvent
  readonly subjects: readonly Subject[]
  readonly by: Provenance
}

export interface ReceiverDeps {
  readonly verifySet: (text: string) => Promise<Result<SignedSet>>
  readonly policies: () => PolicySet
  readonly state: Pick<State, 'claim'>
  readonly standings: Standings
  readonly findings: Pick<Findings, 'open'>
  readonly ledger: Pick<Ledger, 'append'>
  readonly refusals: Refusals
  readonly count: CountSignal
  readonly clock: Pick<Clock, 'now'>
}

/** Key under which the one use of a SET is remembered. */
export const setKey = (fingerprint: string): string => `set:${fingerprint}`

/**
 * Takes one SET: verified, understood, not seen before, then on record, then in force, in that order. Whatever is refused is
 * recorded, and changes nothing. @throws BrokerFault `ledger_unavailable`, `state_unavailable`
 */
export function createReceiver(deps: ReceiverDeps): (text: string, request: RequestId) => Promise<Result<Received>> {
  const { policies, state, standings, findings, ledger, clock } = deps

  return async (text, request) => {
    const by = (): Provenance => ({ actor: { type: 'broker', reason: 'signal' }, request, policy: policies().digest })

    async function refused(refusal: Refusal, signal: string, issuer?: string): Promise<Result<never>> {
      deps.count(signal, 'refused')
      const actor = { type: 'unproved', issuer } as const
      const about = { actor, request, policy: policies().digest, token: text === '' ? undefined : sha256Hex(text) }
      await deps.refusals.record(about, refusal)
      return { ok: false, refusal }
    }

    const verified = await deps.verifySet(text)
    if (!verified.ok) return refused(verified.refusal, 'unverified')
    const set = verified.value
    const { issuer } = set
    const read = readEvent(set, clock.now())
    if (!read.ok) return refused(read.refusal, 'unknown', issuer.name)
    const event = read.value
    const matched = match(policies(), set, event)
    if (!matched.ok) return refused(matched.refusal, event.name, issuer.name)
    if (matched.value.subjects.length > 0) await standings.makeRoom()
    if (!(await state.claim(setKey(set.fingerprint), set.usableUntilMs))) {
      const { refusal } = refuse('token_replayed', 'replay', 'a signal with that iss and jti was received before')
      return refused(refusal, event.name, issuer.name)
    }
    await record(set, event, matched.value, by())
    deps.count(event.name, 'received')
    const { subjects } = matched.value
    for (const subject of subjects) await standings.apply(subject, event.effect, event.beforeMs)
    return ok({ event, subjects, by: by() })
  }

  /**
   * One entry for each subject, so that one query finds all that was said of somebody. The last alone names the SET: entries become
   * durable in order, so a SET that is known to have been received is wholly on record.
   */
  async function record(
    set: SignedSet,
    event: SignalEvent,
    { subjects, count }: Matched,
    by: Provenance,
  ): Promise<void> {
    const about = { source: set.issuer.name, signal: event.name, matched: count }
    const base = { ...by, ...about, kind: 'signal.received' } as const
    if (event.effect === 'renamed' && count > 0) await openRenamed(subjects, by)
    if (subjects.length === 0) await ledger.append({ ...base, effect: 'recorded', set: set.fingerprint })
    for (const [at, { issuer, subject }] of subjects.entries()) {
      const { effect, beforeMs } = event
      const said = { issuer, subject, effect, event_time: timeText(beforeMs) }
      const last = at === subjects.length - 1 ? { set: set.fingerprint } : {}
      await ledger.append({ ...base, ...said, ...last, ...ownerOf(policies(), { issuer, subject }) })
    }
  }

  async function openRenamed(subjects: readonly Subject[], by: Provenance): Promise<void> {
    const detail = 'a signal says that this identifier has changed; the policies still name the old one'
    for (const subject of subjects) {
      const finding = renamedFinding(subject)
      await findings.open({ ...by, finding, severity: 'warning', detail })
    }
  }
}

/** So that whoever answers for a workload finds the signal among its entries. */
function ownerOf(set: PolicySet, subject: Subject): { workload?: string; owner?: string } {
  const [workload, another] = workloadsWithSub(set, subject)
  return workload === undefined || another !== undefined
    ? {}
    : { workload: workload.name, owner: workload.policy.owner }
}

/** Signals about a stream itself are about nobody. */
function match(policies: PolicySet, { issuer, claims }: SignedSet, { name }: SignalEvent): Result<Matched> {
  if (name === 'verification' || name === 'stream-updated') return ok({ subjects: [], count: 0 })
  const identifiers = readSubject(claims)
  return identifiers.ok ? matchSubjects(policies, issuer, identifiers.value) : identifiers
}
