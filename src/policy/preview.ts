import { createPacer } from '../base/pacer.ts'
import type { Grant } from '../grants/grant.ts'
import { type Asked, foresee, judge, type Standing } from './judge.ts'
import type { PolicySet } from './policy-set.ts'

/** A live grant that a change would end, or end earlier. */
interface Loss {
  readonly grant: string
  readonly workload: string
  readonly owner: string
  readonly purpose: string
  readonly credential: string
  readonly reason: string
  /** RFC 3339; absent where it ends at once. */
  readonly ends_at?: string
}

/** Requests like these were made lately, and the change turns what is said to them. */
interface Turn {
  readonly workload: string
  readonly purpose: string
  readonly credential: string | null
  readonly requests: number
  /** Why they are refused: before the change where they are allowed now, else after it. */
  readonly reason: string
}

/** What a change of the policies does to what is alive, and to what was asked for lately. Holds no reason and no subject of a request. */
export interface Preview {
  readonly live: number
  readonly ends: readonly Loss[]
  readonly shortened: readonly Loss[]
  /** Live grants that the policies before the change do not support either. */
  readonly unsupported: number
  readonly requests: number
  readonly allowed: readonly Turn[]
  readonly refused: readonly Turn[]
}

/**
 * Judges live grants and replays requests under both sets, by the function that the broker judges with. What both sets say alike is no
 * consequence of the change and is left out. `nowMs` since the epoch.
 */
export async function preview(
  before: PolicySet,
  after: PolicySet,
  { grants, requests, nowMs }: { grants: readonly Grant[]; requests: readonly Asked[]; nowMs: number },
): Promise<Preview> {
  const pace = createPacer()
  const ends: Loss[] = []
  const shortened: Loss[] = []
  let unsupported = 0
  for (const grant of grants) {
    await pace()
    const { id, workload, owner, purpose, credential } = grant
    const loss = (reason: string): Loss => ({ grant: id, workload, owner, purpose, credential, reason })
    const [was, is] = [judge(before, grant, nowMs), judge(after, grant, nowMs)]
    if (!was.stands) unsupported++
    else if (!is.stands) ends.push(loss(is.reason))
    else if (is.endsAtMs < Math.min(was.endsAtMs, grant.expiresAtMs ?? 0)) {
      shortened.push({ ...loss(`${is.bound}: it is lower`), ends_at: new Date(is.endsAtMs).toISOString() })
    }
  }
  const turns = { allowed: new Map<string, Turn>(), refused: new Map<string, Turn>() }
  for (const asked of requests) {
    await pace()
    const [was, is] = [foresee(before, asked, nowMs), foresee(after, asked, nowMs)]
    if (was.stands === is.stands) continue
    count(is.stands ? turns.allowed : turns.refused, asked, reasonOf(is.stands ? was : is))
  }
  const [allowed, refused] = [turns.allowed, turns.refused].map((map) =>
    [...map.values()].sort((a, b) => b.requests - a.requests || (a.workload < b.workload ? -1 : 1)),
  )
  return {
    live: grants.length,
    ends,
    shortened,
    unsupported,
    requests: requests.length,
    allowed: allowed ?? [],
    refused: refused ?? [],
  }
}

const reasonOf = (standing: Standing): string => (standing.stands ? '' : standing.reason)

function count(turns: Map<string, Turn>, { workload, purpose, credential }: Asked, reason: string): void {
  const key = JSON.stringify([workload, purpose, credential, reason])
  const requests = (turns.get(key)?.requests ?? 0) + 1
  turns.set(key, { workload, purpose, credential: credential ?? null, requests, reason })
}
