import { KeyObject, sign as signBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'

export type SigningAlgorithm = 'RS256' | 'RS384' | 'PS256' | 'ES256' | 'ES384' | 'EdDSA' | 'Ed25519'

/** A key pair of the issuer; `jwk` is the public half as it is published. */
export interface SigningKey {
  readonly kid: string
  readonly alg: SigningAlgorithm
  readonly privateKey: CryptoKey
  readonly jwk: JWK
}

/** How the issuer answers its two documents. */
export type Behaviour =
  | { readonly kind: 'up' }
  /** The connection is cut without an answer. */
  | { readonly kind: 'down' }
  | { readonly kind: 'status'; readonly status: number }
  /** Accepts the request and never answers. */
  | { readonly kind: 'silent' }
  /** Sends headers and the first byte, then nothing. */
  | { readonly kind: 'stalled' }
  | { readonly kind: 'body'; readonly body: string | Uint8Array; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'redirect'; readonly location: string }

export interface SignOptions {
  readonly key?: SigningKey
  readonly header?: Readonly<Record<string, unknown>>
  /** Time base for the default `iat` and `exp`; seconds since the epoch. */
  readonly now?: number
}

export interface TestIssuer {
  readonly url: string
  readonly jwksUrl: string
  /** The key that signs by default: the newest. */
  key(): SigningKey
  /** Adds a key and signs with it from now on; `drop` stops publishing the older ones. */
  rotate(options?: { readonly alg?: SigningAlgorithm; readonly drop?: boolean }): Promise<SigningKey>
  jwks(): { keys: JWK[] }
  /**
   * A real signed token. `iss`, `sub`, `aud`, `iat`, `exp` (5 minutes) and `jti` are filled in;
   * a claim given as `undefined` is left out.
   */
  sign(claims?: Readonly<Record<string, unknown>>, options?: SignOptions): Promise<string>
  /** How both documents are answered from now on. */
  behave(behaviour: Behaviour, only?: 'discovery' | 'jwks'): void
  /** Requests seen so far. */
  readonly requests: { discovery: number; jwks: number }
  /** Resolves once that many requests for the document were seen. */
  seen(document: 'discovery' | 'jwks', count: number): Promise<void>
  close(): Promise<void>
}

export const testAudience = 'https://writ.example.com'

let counter = 0

/** Makes a key pair, for forging as much as for signing. */
export async function signingKey(alg: SigningAlgorithm, kid = `key-${++counter}`): Promise<SigningKey> {
  const pair = await generateKeyPair(alg, { extractable: true })
  return { kid, alg, privateKey: pair.privateKey, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg, use: 'sig' } }
}

/** A compact token over exactly these texts, whatever they hold: for what an honest library would not sign. */
export function rawToken(headerText: string, payloadText: string, key: SigningKey): string {
  const signed = `${Buffer.from(headerText).toString('base64url')}.${Buffer.from(payloadText).toString('base64url')}`
  const hash = key.alg.startsWith('Ed') ? null : `sha${key.alg.slice(2)}`
  const signature = signBytes(hash, Buffer.from(signed), {
    key: KeyObject.from(key.privateKey),
    dsaEncoding: 'ieee-p1363',
  })
  return `${signed}.${signature.toString('base64url')}`
}

/** An OIDC issuer that really signs, and really serves discovery and JWKS over loopback HTTP. */
export async function startIssuer(options: { readonly alg?: SigningAlgorithm } = {}): Promise<TestIssuer> {
  const keys: SigningKey[] = [await signingKey(options.alg ?? 'ES256')]
  const requests = { discovery: 0, jwks: 0 }
  const behaviours: { discovery: Behaviour; jwks: Behaviour } = { discovery: { kind: 'up' }, jwks: { kind: 'up' } }
  const waiting = new Set<() => void>()
  const newest = (): SigningKey => {
    const key = keys.at(-1)
    if (key === undefined) throw new Error('the issuer has no key')
    return key
  }
  const jwks = (): { keys: JWK[] } => ({ keys: keys.map((key) => key.jwk) })

  const server = createServer((request, response) => {
    const document = request.url === '/jwks' ? 'jwks' : 'discovery'
    if (document === 'discovery' && request.url !== '/.well-known/openid-configuration') {
      response.writeHead(404).end()
      return
    }
    requests[document]++
    const body = document === 'jwks' ? jwks() : { issuer: url, jwks_uri: `${url}/jwks` }
    answer(behaviours[document], JSON.stringify(body), request, response)
    for (const check of waiting) check()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    url,
    jwksUrl: `${url}/jwks`,
    key: newest,
    jwks,
    requests,
    async rotate({ alg = 'ES256', drop = false } = {}) {
      const key = await signingKey(alg)
      if (drop) keys.length = 0
      keys.push(key)
      return key
    },
    sign(claims = {}, { key = newest(), header = {}, now = Math.floor(Date.now() / 1000) } = {}) {
      const standard = {
        iss: url,
        sub: 'someone',
        aud: testAudience,
        iat: now,
        exp: now + 300,
        jti: `jti-${++counter}`,
      }
      const all = Object.entries({ ...standard, ...claims }).filter(([, value]) => value !== undefined)
      const protectedHeader = { alg: key.alg, kid: key.kid, typ: 'JWT', ...header }
      return new SignJWT(Object.fromEntries(all))
        .setProtectedHeader(JSON.parse(JSON.stringify(protectedHeader)))
        .sign(key.privateKey)
    },
    behave(behaviour, only) {
      if (only !== 'jwks') behaviours.discovery = behaviour
      if (only !== 'discovery') behaviours.jwks = behaviour
    },
    seen(document, count) {
      return new Promise((resolve) => {
        const check = (): void => {
          if (requests[document] < count) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      })
    },
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      return closed
    },
  }
}

function answer(behaviour: Behaviour, body: string, request: IncomingMessage, response: ServerResponse): void {
  const json = { 'content-type': 'application/json' }
  switch (behaviour.kind) {
    case 'up':
      response.writeHead(200, json).end(body)
      return
    case 'down':
      request.socket.destroy()
      return
    case 'status':
      response.writeHead(behaviour.status, json).end(body)
      return
    case 'silent':
      return
    case 'stalled':
      response.writeHead(200, json).write(body.slice(0, 1))
      return
    case 'body':
      response.writeHead(200, { ...json, ...behaviour.headers }).end(behaviour.body)
      return
    case 'redirect':
      response.writeHead(302, { location: behaviour.location }).end()
      return
  }
}
