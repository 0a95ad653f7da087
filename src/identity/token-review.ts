import { Agent } from 'undici'
import { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import { sha256Hex } from '../base/digest.ts'
import type { IssuerPolicy, TokenReviewPolicy } from '../policy/issuer.ts'
import { readBounded } from './bounded-file.ts'
import { type Finding, failed, passed, shown } from './check.ts'
import { type Ask, KeyFetchError, safeUrl } from './fetch-text.ts'
import type { Claims } from './identity.ts'

/** How long a token that the API server found good is not asked about again: what was deleted meanwhile still passes. */
export const keepReviewMs = 5000
const mostKept = 1024
const retryAfterSeconds = 5
const rule = 'kubernetes.token_review'

/** Asks the issuer whether a genuine token is still good. Never throws. */
export type TokenReview = (token: string, claims: Claims) => Promise<Finding>

interface ReviewOptions {
  readonly issuer: IssuerPolicy
  readonly review: TokenReviewPolicy
  readonly ask: Ask
  readonly clock: Clock
}

// What is read of a TokenReview (kubernetes.io, "TokenReview v1 authentication.k8s.io"); all of it may be absent.
const answerSchema = z.object({
  status: z.object({
    authenticated: z.boolean().optional(),
    audiences: z.array(z.string()).optional(),
    user: z.object({ username: z.string().optional() }).optional(),
  }),
})

/**
 * Reviews by the API server of the cluster: it alone knows that a pod, a service account or a secret was deleted. The token goes
 * to that server and nowhere else. What cannot be answered refuses the token with `state_unavailable`; no is `token_invalid`.
 * A yes is kept for `keepReviewMs`, by the hash of the token; callers that ask about one token at once share one review.
 */
export function createTokenReview({ issuer, review, ask, clock }: ReviewOptions): TokenReview {
  const audiences = [issuer.audience ?? []].flat()
  // A map keeps the order of insertion, and all are kept equally long, so the first key is the one nearest its end.
  const good = new Map<string, number>()
  const underWay = new Map<string, Promise<Finding>>()

  const askAbout = async (token: string, claims: Claims, id: string): Promise<Finding> => {
    const askedAtMs = clock.now()
    const finding = await answered(token, claims)
    if (finding.code === undefined) {
      good.delete(id)
      good.set(id, askedAtMs + keepReviewMs)
      const [oldest] = good.size > mostKept ? good.keys() : []
      if (oldest !== undefined) good.delete(oldest)
    }
    return finding
  }

  const answered = async (token: string, claims: Claims): Promise<Finding> => {
    try {
      return judge(await post(review, ask, { token, audiences }), audiences, claims)
    } catch (error) {
      const detail = error instanceof KeyFetchError ? error.message : 'the review cannot be asked for'
      return { ...failed('state_unavailable', rule, detail), retryAfterSeconds }
    }
  }

  return async (token, claims) => {
    const id = sha256Hex(token)
    const leftMs = (good.get(id) ?? 0) - clock.now()
    // A clock that was set back must not keep a yes for longer.
    if (leftMs > 0 && leftMs <= keepReviewMs) return passed(rule, 'the API server found it good moments ago')
    good.delete(id)
    const shared = underWay.get(id)
    if (shared !== undefined) return await shared
    const asking = askAbout(token, claims, id).finally(() => underWay.delete(id))
    underWay.set(id, asking)
    return await asking
  }
}

/** @throws KeyFetchError when there is no answer that can be read. */
async function post(
  { url, token_file: tokenFile, ca_file: caFile }: TokenReviewPolicy,
  ask: Ask,
  spec: { readonly token: string; readonly audiences: readonly string[] },
): Promise<z.infer<typeof answerSchema>> {
  const server = safeUrl(url, 'the address of the API server', false)
  const at = new URL(`${server.href.replace(/\/$/, '')}/apis/authentication.k8s.io/v1/tokenreviews`)
  const own = (await readBounded(tokenFile, 'the token file for reviews')).trim()
  const ca = await readBounded(caFile, 'the certificate file for reviews')
  const dispatcher = new Agent({ connect: { ca } })
  try {
    const headers = { accept: 'application/json', 'content-type': 'application/json', authorization: `Bearer ${own}` }
    const body = JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec })
    const { status, text } = await ask(at, { method: 'POST', headers, body, dispatcher })
    if (status !== 200 && status !== 201) throw new KeyFetchError(`${at.host} answered ${status}`)
    return read(text, at.host)
  } finally {
    await dispatcher.destroy()
  }
}

function read(text: string, host: string): z.infer<typeof answerSchema> {
  try {
    return answerSchema.parse(JSON.parse(text))
  } catch {
    throw new KeyFetchError(`${host} answered something that is no TokenReview`)
  }
}

/** What the server's own words are is left out: they are not the broker's to vouch for. */
function judge({ status }: z.infer<typeof answerSchema>, audiences: readonly string[], { sub }: Claims): Finding {
  if (status.authenticated !== true) return failed('token_invalid', rule, 'the API server says that it is not good')
  // A server that does not know audiences leaves them out, and then its yes is about its own audience.
  if (!status.audiences?.some((audience) => audiences.includes(audience))) {
    return failed('token_invalid', rule, 'the API server does not say that it is for this broker')
  }
  const { username } = status.user ?? {}
  if (username !== sub)
    return failed('token_invalid', rule, `the API server says ${shown(username)}, sub ${shown(sub)}`)
  return passed(rule, 'the API server says that it is good')
}
