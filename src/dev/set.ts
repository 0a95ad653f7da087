import { type SignalName, streamEvents } from '../contract/signal.ts'
import type { Claims } from '../identity/identity.ts'
import type { PolicySet } from '../policy/compile.ts'
import { composeSet } from '../signals/compose-set.ts'
import { algorithmFor, composeToken, isSignedHere, TokenOrderError, type Unsigned } from './mint.ts'

/** What a signal is asked to be. */
export interface SignalOrder {
  readonly event: SignalName
  /** A workload, a team member, or `ISSUER/SUBJECT` with the name or the url of an Issuer. */
  readonly subject?: string
  /** Name or url of the Issuer that sends it; the first that speaks for the subject when absent. */
  readonly from?: string
  readonly payload?: Claims
}

/**
 * The claims of a signal that the policies accept, or of one that they do not when `from` says so.
 * @throws TokenOrderError when nobody is called so, or no issuer that signs here speaks for the subject
 */
export function composeSignal(order: SignalOrder, set: PolicySet, own: { url: string; nowMs: number }): Unsigned {
  const aboutStream = Object.hasOwn(streamEvents, order.event)
  if (!aboutStream && order.subject === undefined) throw new TokenOrderError(`${order.event} needs a subject`)
  const subject = aboutStream || order.subject === undefined ? undefined : subjectOf(order.subject, set, own)
  const named = set.issuers.find(({ url }) => url === subject?.iss)?.name
  const transmitter = set.issuers.find((issuer) => {
    if (issuer.signals === undefined || !isSignedHere(issuer)) return false
    if (order.from !== undefined) return issuer.name === order.from || issuer.url === order.from
    return named === undefined || (issuer.signals.speaks_for ?? [issuer.name]).includes(named)
  })
  if (transmitter?.signals === undefined) {
    throw new TokenOrderError(
      `no Issuer of the policies ${order.from === undefined ? 'speaks for that subject' : `called ${order.from} sends signals`} with keys that are signed for here`,
    )
  }
  const audience = [transmitter.signals.audience].flat()[0] ?? ''
  const { event, payload } = order
  const claims = composeSet({
    event,
    iss: transmitter.url,
    audience,
    nowMs: own.nowMs,
    ...(subject === undefined ? {} : { subject }),
    ...(payload === undefined ? {} : { payload }),
  })
  return { claims: claims as Unsigned['claims'], algorithm: algorithmFor(transmitter) }
}

function subjectOf(text: string, set: PolicySet, own: { url: string; nowMs: number }): { iss: string; sub: string } {
  // A name of an Issuer holds no slash and a url may hold several, so the longest url wins.
  const urls = set.issuers.map(({ url }) => url).filter((url) => text.startsWith(`${url}/`))
  const iss = urls.sort((a, b) => b.length - a.length)[0]
  if (iss !== undefined) return { iss, sub: text.slice(iss.length + 1) }
  const slash = text.indexOf('/')
  const issuer = set.issuers.find(({ name }) => name === text.slice(0, Math.max(0, slash)))
  if (issuer !== undefined) return { iss: issuer.url, sub: text.slice(slash + 1) }
  const { claims } = composeToken({ as: text }, set, own)
  return { iss: String(claims.iss), sub: String(claims.sub) }
}
