import type { CompiledPurpose } from './policy-set.ts'

/** How a purpose stands with its owner's reviews. */
export type ReviewStanding = 'none' | 'current' | 'overdue' | 'lapsed'

/**
 * The review ladder. While the last attestation is younger than `every`, the review is current. For as long again it is
 * overdue: access goes on at half the greatest life. After that it has lapsed: refused until the owner attests again.
 */
export function reviewStanding({ review }: CompiledPurpose, nowMs: number): ReviewStanding {
  if (review === undefined) return 'none'
  const ageMs = nowMs - review.lastMs
  if (ageMs < review.everyMs) return 'current'
  return ageMs < 2 * review.everyMs ? 'overdue' : 'lapsed'
}
