import type { Clock, Timer } from '../base/clock.ts'
import { sha256Hex } from '../base/digest.ts'
import type { Log } from '../base/log.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import { createAsk, createFetchText, type FetchText } from './fetch-text.ts'
import type { Flavour } from './flavours/flavour.ts'
import { flavours } from './flavours/known.ts'
import type { Claims } from './identity.ts'
import { createKeySource } from './key-source.ts'
import { createKeyCache, type KeyCache } from './keys.ts'
import { chosenBy, type Routes, routesOf } from './route.ts'
import { createTokenReview, type TokenReview } from './token-review.ts'

/** An Issuer document with what is needed to apply it. */
interface TrustedIssuer {
  readonly policy: IssuerPolicy
  readonly flavour: Flavour
  readonly keys: KeyCache
  /** Asks the issuer about each token, where the Issuer document says so. */
  readonly review: TokenReview | undefined
}

/** Whether tokens of an issuer can be verified now, and if not, why. */
export interface IssuerStatus {
  /** Name of the Issuer document. */
  readonly issuer: string
  readonly ready: boolean
  readonly detail: string
}

/** The issuers of the policy set in force. */
export interface Issuers {
  /** The issuer with exactly this `iss`. Costs the same whether there is one or not. */
  byUrl(url: string): TrustedIssuer | undefined
  /** The issuer whose rules a token with these claims is held to; in words why there is none. Costs the same either way. */
  of(claims: Claims): TrustedIssuer | { readonly nobody: string }
  status(): readonly IssuerStatus[]
  start(): void
  close(): void
}

export interface IssuersOptions {
  /** The Issuer documents in force now; may answer differently after a reload. */
  readonly issuers: () => readonly IssuerPolicy[]
  readonly clock: Clock
  readonly log: Log
  /** Stands in for the network. */
  readonly fetchKeys?: FetchText
  /** Lets keys come over http from loopback. Development only. */
  readonly allowLoopbackHttp?: boolean
  /** Lets `writ dev` sign for issuers of the example policies: where keys really come from. */
  readonly keysFor?: (issuer: IssuerPolicy) => IssuerPolicy['keys']
}

// A reload is noticed by the next request, or by this tick when there is none.
const noticeReloadEveryMs = 5000

/** Follows the policy set: new issuers get a key cache, unchanged ones keep theirs, the rest are dropped. */
export function createIssuers(options: IssuersOptions): Issuers {
  const { issuers, clock, log, allowLoopbackHttp = false, keysFor = ({ keys }) => keys } = options
  const closing = new AbortController()
  const fetchText = options.fetchKeys ?? createFetchText(clock, closing.signal)
  const ask = createAsk(clock, closing.signal)
  let seen: readonly IssuerPolicy[] = []
  let trusted: ReadonlyMap<string, TrustedIssuer> = new Map()
  let routes: Routes = routesOf([])
  let caches: ReadonlyMap<string, KeyCache> = new Map()
  let timer: Timer | undefined
  let state: 'idle' | 'started' | 'closed' = 'idle'

  const cacheFor = (policy: IssuerPolicy, keys: IssuerPolicy['keys']): KeyCache => {
    const { name, url: issuerUrl, algorithms } = policy
    const bundle = isTrustBundle(policy.flavour, keys)
    const source = createKeySource({ issuerUrl, keys, algorithms, bundle, fetchText, allowLoopbackHttp })
    const cache = createKeyCache({ issuer: name, source, clock, log })
    if (state === 'started') cache.start()
    return cache
  }

  const reviewFor = (issuer: IssuerPolicy): TokenReview | undefined => {
    const { token_review: review } = issuer
    // What `writ dev` signs for an issuer is unknown to its cluster.
    if (review === undefined || options.keysFor !== undefined) return undefined
    return createTokenReview({ issuer, review, ask, clock })
  }

  const follow = (): void => {
    const policies = issuers()
    if (isSame(policies, seen) || state === 'closed') return
    const nextTrusted = new Map<string, TrustedIssuer>()
    const nextCaches = new Map<string, KeyCache>()
    for (const policy of policies) {
      if (nextTrusted.has(policy.url)) continue
      const keysFrom = keysFor(policy)
      const id = cacheId(policy, keysFrom)
      const keys = caches.get(id) ?? cacheFor(policy, keysFrom)
      nextCaches.set(id, keys)
      nextTrusted.set(policy.url, { policy, flavour: flavours[policy.flavour], keys, review: reviewFor(policy) })
    }
    for (const [id, cache] of caches) if (!nextCaches.has(id)) cache.close()
    seen = policies
    trusted = nextTrusted
    routes = routesOf(policies)
    caches = nextCaches
  }

  const tick = (): void => {
    follow()
    timer = clock.after(noticeReloadEveryMs, tick)
  }

  return {
    byUrl(url) {
      follow()
      return trusted.get(url)
    },
    of(claims) {
      follow()
      const chosen = chosenBy(claims, routes)
      return 'nobody' in chosen ? chosen : (trusted.get(chosen.url) ?? { nobody: `${chosen.name} is not in force` })
    },
    status() {
      follow()
      return [...trusted.values()].map(({ policy, keys }) => ({
        issuer: policy.name,
        ...keys.status(),
      }))
    },
    start() {
      if (state !== 'idle') return
      state = 'started'
      for (const cache of caches.values()) cache.start()
      tick()
    },
    close() {
      state = 'closed'
      timer?.cancel()
      for (const cache of caches.values()) cache.close()
      closing.abort()
    },
  }
}

const isSame = (a: readonly IssuerPolicy[], b: readonly IssuerPolicy[]): boolean =>
  a === b || (a.length === b.length && a.every((policy, i) => policy === b[i]))

// Everything that decides which keys are loaded and how they are imported.
const cacheId = ({ name, url, algorithms, flavour }: IssuerPolicy, keys: IssuerPolicy['keys']): string =>
  sha256Hex(JSON.stringify([name, url, algorithms, keys, isTrustBundle(flavour, keys)]))

// A discovery document leads to a JWK Set of OpenID Connect, also that of SPIRE; all else that SPIFFE publishes is a bundle.
const isTrustBundle = (flavour: IssuerPolicy['flavour'], keys: IssuerPolicy['keys']): boolean =>
  flavour === 'spiffe' && !('discovery' in keys)
