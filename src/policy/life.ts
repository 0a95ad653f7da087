import type { Ceiling } from './decision.ts'
import { reviewStanding } from './review.ts'
import type { Case } from './rules.ts'
import { relaxed, type Stop } from './stand.ts'

/** How long the credential may live, and what bounds it. */
export interface Life {
  readonly ttlSeconds: number
  readonly ceilings: readonly Ceiling[]
  /** Ceilings that lowered it below what was asked for and below those before them; the last one is what binds. */
  readonly cappedBy: readonly string[]
}

/** The smallest of all ceilings (invariant 8). A ceiling below one second refuses. */
export function lifeOf(subject: Case): Life | Stop {
  const { request, footing, credential, nowMs, trail } = subject
  const { purpose } = footing
  const asked = request.ttlSeconds ?? purpose.defaultSeconds
  const ceilings: Ceiling[] = [
    { name: 'request', seconds: asked },
    { name: 'purpose', seconds: purpose.maxSeconds },
  ]
  const until = (name: string, endMs: number | undefined): void => {
    if (endMs !== undefined) ceilings.push({ name, seconds: Math.max(0, Math.floor((endMs - nowMs) / 1000)) })
  }
  if (credential.maxSeconds !== undefined) ceilings.push({ name: 'credential', seconds: credential.maxSeconds })
  guardrailCeilings(subject, ceilings)
  const review = reviewCeiling(subject, ceilings)
  if (review !== undefined) return review
  for (const { name, untilMs } of subject.leaning) until(`exception ${name}`, untilMs)
  until('task', request.taskEndsAtMs)
  until('purpose until', purpose.untilMs)
  const ttlSeconds = Math.min(...ceilings.map((ceiling) => ceiling.seconds))
  const cappedBy = lowering(ceilings)
  if (ttlSeconds < 1) return trail.fail('condition_failed', 'ttl', `${cappedBy.join(', ')}: no time is left`)
  trail.pass('ttl', cappedBy.length === 0 ? `${ttlSeconds}s` : `${ttlSeconds}s, capped by ${cappedBy.join(', ')}`)
  return { ttlSeconds, ceilings, cappedBy }
}

/** Names of the ceilings that are lower than every one before them. */
function lowering(ceilings: readonly Ceiling[]): string[] {
  const names: string[] = []
  let lowest = Number.POSITIVE_INFINITY
  for (const { name, seconds } of ceilings) {
    if (seconds < lowest && lowest !== Number.POSITIVE_INFINITY) names.push(name)
    lowest = Math.min(lowest, seconds)
  }
  return names
}

// An Exception for the ttl stands in for the ceilings of guardrails; those of purpose and credential are their owners' to edit.
function guardrailCeilings({ guardrails, footing, nowMs, trail, leaning }: Case, ceilings: Ceiling[]): void {
  const bounding = guardrails.flatMap(({ name, maxSeconds }) =>
    maxSeconds === undefined ? [] : [{ name: `guardrail ${name}`, seconds: maxSeconds }],
  )
  if (bounding.length === 0) return
  // One that has ended relaxes nothing any more; the guardrails simply bind again.
  const exception = relaxed(footing.purpose, 'ttl', nowMs, trail)
  if (exception?.maxSeconds === undefined) {
    ceilings.push(...bounding)
    return
  }
  ceilings.push({ name: `exception ${exception.name}`, seconds: exception.maxSeconds })
  leaning.push(exception)
}

function reviewCeiling(subject: Case, ceilings: Ceiling[]): Stop | undefined {
  const { footing, nowMs, trail, leaning } = subject
  const { purpose } = footing
  if (purpose.review === undefined) return undefined
  const review = reviewStanding(purpose, nowMs)
  const { every, last } = purpose.policy.review ?? { every: '', last: '' }
  const seconds = reviewedSeconds(purpose.review, purpose.maxSeconds, nowMs)
  const binds = seconds < purpose.maxSeconds
  if (review === 'current' && !binds) {
    trail.pass('purpose.review', `attested ${last}, every ${every}`)
    return undefined
  }
  const exception = relaxed(purpose, 'review', nowMs, trail)
  // While the review is current an exception is leant on only where it gives more than the ladder does.
  if (exception !== undefined && (review !== 'current' || exception.untilMs > nowMs + seconds * 1000)) {
    leaning.push(exception)
    return undefined
  }
  if (review === 'lapsed') return trail.fail('review_overdue', 'purpose.review', `attested ${last}, every ${every}`)
  if (binds) ceilings.push({ name: 'review', seconds })
  trail.pass(
    'purpose.review',
    review === 'current'
      ? `attested ${last}, every ${every}: what is left of that bounds the life`
      : `overdue since ${every} after ${last}: half the life`,
  )
  return undefined
}

/**
 * How long a secret may live by the review ladder, seen from its issuance: what would get half the life once the review is overdue ends
 * by then or has lived for no more than that half, and nothing outlives the lapse. So no later look at the ladder finds a secret too old.
 */
function reviewedSeconds(review: { everyMs: number; lastMs: number }, maxSeconds: number, nowMs: number): number {
  const leftUntil = (endMs: number): number => Math.max(0, Math.floor((endMs - nowMs) / 1000))
  const { everyMs, lastMs } = review
  return Math.min(
    maxSeconds,
    Math.max(Math.floor(maxSeconds / 2), leftUntil(lastMs + everyMs)),
    leftUntil(lastMs + 2 * everyMs),
  )
}
