import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import { durationPattern, parseDuration } from '../base/duration.ts'
import { subjectEventNames } from '../contract/signal.ts'
import type { Claim } from '../identity/identity.ts'
import type { PolicySet } from '../policy/compile.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import { algorithmFor, composeToken, isSignedHere, type TokenOrder, TokenOrderError, type Unsigned } from './mint.ts'
import { composeSignal, type SignalOrder } from './set.ts'

/** A running OpenID Connect issuer that signs for every issuer of the policies whose keys come from the network. */
export interface DevIssuer {
  readonly url: string
  readonly jwksUrl: string
  /** @throws TokenOrderError */
  token(order: TokenOrder): Promise<string>
  /** A signed security event token. @throws TokenOrderError */
  signal(order: SignalOrder): Promise<string>
  /** Signs with a new key from now on; the old one stays published for tokens that are out. */
  rotate(): Promise<void>
  /** Where the keys of an issuer come from while this one stands in for it; those written in a policy stay. */
  keysFor(issuer: IssuerPolicy): IssuerPolicy['keys']
  stop(): Promise<void>
}

interface SigningKey {
  readonly kid: string
  readonly algorithm: string
  readonly privateKey: CryptoKey
  readonly jwk: JWK
}

// Tokens live for hours at most; more old keys than this are of no use to anyone.
const keptKeys = 4
const maxBodyBytes = 64 * 1024

/** The body of `POST /dev/token`. */
const orderSchema = z.strictObject({
  as: z.string().min(1).max(200).optional(),
  claims: z.record(z.string().min(1).max(200), z.json()).optional(),
  ttl: z.string().regex(durationPattern).optional(),
  iss: z.string().min(1).max(2048).optional(),
})

/** The body of `POST /dev/signal`. */
const signalSchema = z.strictObject({
  event: z.enum([...subjectEventNames, 'verification', 'stream-updated']),
  subject: z.string().min(1).max(2048).optional(),
  from: z.string().min(1).max(2048).optional(),
  payload: z.record(z.string().min(1).max(200), z.json()).optional(),
})

async function createSigner(): Promise<{
  key(algorithm: string): Promise<SigningKey>
  rotate(): Promise<void>
  published(): JWK[]
}> {
  const keys = new Map<string, Promise<SigningKey>[]>()
  let count = 0
  const generate = async (algorithm: string): Promise<SigningKey> => {
    const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true })
    const kid = `dev-${algorithm.toLowerCase()}-${++count}`
    const jwk = { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' }
    return { kid, algorithm, privateKey, jwk }
  }
  const all: JWK[] = []
  const add = async (algorithm: string): Promise<void> => {
    const fresh = generate(algorithm).then((key) => {
      all.push(key.jwk)
      return key
    })
    keys.set(algorithm, [...(keys.get(algorithm) ?? []), fresh].slice(-keptKeys))
    await fresh
  }
  await add('ES256')
  return {
    async key(algorithm) {
      if (!keys.has(algorithm)) await add(algorithm)
      const newest = await keys.get(algorithm)?.at(-1)
      if (newest === undefined) throw new TokenOrderError(`no key for ${algorithm}`)
      return newest
    },
    async rotate() {
      await Promise.all([...keys.keys()].map(add))
      while (all.length > keptKeys * keys.size) all.shift()
    },
    published: () => [...all],
  }
}

/** Whether a request comes from a program on this machine: a page in a browser sends an Origin, or a Host of its own. */
function isLocal(request: IncomingMessage, port: number): boolean {
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`]
  return hosts.includes(request.headers.host ?? '') && request.headers.origin === undefined
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBodyBytes) throw new TokenOrderError('the request is larger than 64 KiB')
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    throw new TokenOrderError('the request is not JSON')
  }
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}

/**
 * Starts the issuer on loopback: `/.well-known/openid-configuration`, `/jwks`, `/bundle` (the same keys as a SPIFFE trust bundle), `POST /dev/token`, `POST /dev/signal` and
 * `POST /dev/rotate`.
 * Whoever can reach it on this machine can be anyone, which is what it is for; it must never be trusted outside `writ dev`.
 * `policies` gives the set as it is now, so that an edit counts for the next token.
 */
export async function startDevIssuer(options: {
  port: number
  clock: Clock
  policies: () => Promise<PolicySet>
}): Promise<DevIssuer> {
  const { clock, policies } = options
  const signer = await createSigner()
  let url = ''

  const sign = async ({ claims, algorithm }: Unsigned, typ: string): Promise<string> => {
    const key = await signer.key(algorithm)
    return await new SignJWT(claims as Record<string, unknown>)
      .setProtectedHeader({ alg: key.algorithm, kid: key.kid, typ })
      .sign(key.privateKey)
  }
  const own = () => ({ url, nowMs: clock.now() })
  const token = async (order: TokenOrder): Promise<string> => sign(composeToken(order, await policies(), own()), 'JWT')
  const signal = async (order: SignalOrder): Promise<string> =>
    sign(composeSignal(order, await policies(), own()), 'secevent+jwt')

  const signalRoute = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const parsed = signalSchema.safeParse(await readJson(request))
    if (!parsed.success) throw new TokenOrderError('the body takes `event`, `subject`, `from` and `payload`')
    const { event, subject, from, payload } = parsed.data
    const signed = await signal({
      event,
      ...(subject === undefined ? {} : { subject }),
      ...(from === undefined ? {} : { from }),
      ...(payload === undefined ? {} : { payload: payload as Record<string, Claim> }),
    })
    reply(response, 200, { set: signed })
  }

  const tokenRoute = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const parsed = orderSchema.safeParse(await readJson(request))
    if (!parsed.success) throw new TokenOrderError('the body takes `as`, `claims`, `ttl` and `iss`')
    const { as, claims, ttl, iss } = parsed.data
    const ttlSeconds = ttl === undefined ? undefined : parseDuration(ttl)
    const signed = await token({
      ...(as === undefined ? {} : { as }),
      ...(claims === undefined ? {} : { claims: claims as Record<string, Claim> }),
      ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
      ...(iss === undefined ? {} : { iss }),
    })
    reply(response, 200, { token: signed })
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const route = `${request.method} ${new URL(request.url ?? '/', url).pathname}`
    if (route === 'GET /.well-known/openid-configuration') {
      return reply(response, 200, {
        issuer: url,
        jwks_uri: `${url}/jwks`,
        response_types_supported: ['id_token'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: [...new Set(signer.published().map((key) => key.alg))],
      })
    }
    if (route === 'GET /jwks') return reply(response, 200, { keys: signer.published() })
    if (route === 'GET /bundle') {
      return reply(response, 200, { keys: signer.published().map((key) => ({ ...key, use: 'jwt-svid' })) })
    }
    if (!['POST /dev/token', 'POST /dev/signal', 'POST /dev/rotate'].includes(route)) {
      return reply(response, 404, { error: 'not found' })
    }
    if (!isLocal(request, Number(new URL(url).port))) return reply(response, 403, { error: 'only for this machine' })
    if (route === 'POST /dev/token') return await tokenRoute(request, response)
    if (route === 'POST /dev/signal') return await signalRoute(request, response)
    await signer.rotate()
    return reply(response, 200, { keys: signer.published().length })
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      const known = error instanceof TokenOrderError
      reply(response, known ? 400 : 500, { error: known ? error.message : 'the token could not be made' })
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, '127.0.0.1', resolve)
  })
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  // Made now rather than at the first token: the broker does not look for new keys more often than every few seconds.
  const set = await policies()
  await Promise.all([...new Set(set.issuers.filter(isSignedHere).map(algorithmFor))].map((name) => signer.key(name)))

  return {
    url,
    jwksUrl: `${url}/jwks`,
    token,
    signal,
    rotate: signer.rotate,
    keysFor(issuer) {
      if (!isSignedHere(issuer)) return issuer.keys
      return { jwks_url: issuer.flavour === 'spiffe' ? `${url}/bundle` : `${url}/jwks` }
    },
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
