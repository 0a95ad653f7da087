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
  const review = reviewStanding(purpose, nowMs)
  const { every, last } = purpose.policy.review ?? { every: '', last: '' }
  if (review === 'none') return undefined
  if (review === 'current') {
    trail.pass('purpose.review', `attested ${last}, every ${every}`)
    return undefined
  }
  const exception = relaxed(purpose, 'review', nowMs, trail)
  if (exception !== undefined) {
    leaning.push(exception)
    return undefined
  }
  if (review === 'lapsed') return trail.fail('review_overdue', 'purpose.review', `attested ${last}, every ${every}`)
  ceilings.push({ name: 'review', seconds: Math.floor(purpose.maxSeconds / 2) })
  trail.pass('purpose.review', `overdue since ${every} after ${last}: half the life`)
  return undefined
}
