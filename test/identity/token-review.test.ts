import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fetchTimeoutMs, maxDocumentBytes } from '../../src/identity/fetch-text.ts'
import { keepReviewMs } from '../../src/identity/token-review.ts'
import { startIssuer, type TestIssuer, testAudience } from '../support/issuer.ts'
import { selfSigned } from '../support/self-signed.ts'
import { good, startTokenReviews, type TokenReviews } from '../support/token-reviews.ts'
import { type Scene, scene } from './setup.ts'

const sub = 'system:serviceaccount:orders:checkout'
let issuer: TestIssuer
let server: TokenReviews

beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())
beforeEach(async () => {
  server = await startTokenReviews()
  server.answer(good(sub))
})
afterEach(() => server.close())

const open = (review: Readonly<Record<string, unknown>> = {}): Scene =>
  scene(issuer, {
    flavour: 'kubernetes',
    token_review: { url: server.url, token_file: server.tokenFile, ca_file: server.caFile, ...review },
  })

describe('a review by the API server', () => {
  it('is asked with the token and the audience, as the broker, after every check that needs nobody', async () => {
    const s = open()
    const token = await s.sign({ sub })
    expect(await s.codeOf(token)).toBe('ok')
    expect(server.asked).toEqual([
      {
        authorization: 'Bearer token-of-the-broker',
        body: {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenReview',
          spec: { token, audiences: [testAudience] },
        },
      },
    ])
    const { reasons } = await s.verifier.explain(token)
    expect(reasons).toContainEqual({
      rule: 'kubernetes.token_review',
      ok: true,
      detail: 'the API server found it good moments ago',
    })
    for (const wrong of [{ sub, aud: 'x' }, { sub, exp: s.now() - 3600 }, { sub: 'system:node:n1' }]) {
      expect(await s.codeOf(await s.sign(wrong))).not.toBe('ok')
    }
    expect(await s.codeOf(await (await startedElsewhere()).sign({ sub, iss: issuer.url }))).toBe('token_invalid')
    expect(server.asked).toHaveLength(1)
  })

  it('refuses what the server says is not good, for whom it does not say, or whose it says it is', async () => {
    const s = open()
    const token = await s.sign({ sub })
    const yes = { authenticated: true, audiences: [testAudience], user: { username: sub } }
    const statuses: readonly [unknown, RegExp][] = [
      [{ authenticated: false, error: 'service account token has been invalidated' }, /says that it is not good$/],
      [{}, /says that it is not good$/],
      [{ ...yes, audiences: [] }, /does not say that it is for this broker$/],
      [{ ...yes, audiences: undefined }, /does not say that it is for this broker$/],
      [{ ...yes, audiences: ['https://kubernetes.default.svc'] }, /does not say that it is for this broker$/],
      [
        { ...yes, user: { username: 'system:serviceaccount:orders:other' } },
        /the API server says ".*:other", sub ".*"$/,
      ],
      [{ ...yes, user: undefined }, /the API server says nothing, sub ".*"$/],
    ]
    for (const [status, why] of statuses) {
      server.answer((review) => ({ body: { ...review.body, status } }))
      expect(await s.codeOf(token)).toBe('token_invalid')
      expect(await s.whyNot(token)).toMatch(why)
    }
    // A no is not kept: the next one asks again.
    server.answer(good(sub))
    expect(await s.codeOf(token)).toBe('ok')
  })

  it('keeps a yes for a few seconds, and then sees that the pod is gone', async () => {
    const s = open()
    const token = await s.sign({ sub })
    expect(await s.codeOf(token)).toBe('ok')
    server.answer((review) => ({ body: { ...review.body, status: { authenticated: false } } }))
    await s.clock.advance(keepReviewMs - 1)
    expect(await s.codeOf(token)).toBe('ok')
    // Another token of the same pod is asked about by itself.
    expect(await s.codeOf(await s.sign({ sub }))).toBe('token_invalid')
    await s.clock.advance(1)
    expect(await s.codeOf(token)).toBe('token_invalid')
    expect(server.asked).toHaveLength(3)
  })

  it('asks once for many who present one token at once', async () => {
    const s = open()
    const token = await s.sign({ sub })
    const codes = await Promise.all(Array.from({ length: 20 }, () => s.codeOf(token)))
    expect(new Set(codes)).toEqual(new Set(['ok']))
    expect(server.asked).toHaveLength(1)
  })
})

describe('no answer is no', () => {
  const unavailable = async (s: Scene): Promise<string> => {
    const result = await s.verifier.verify(await s.sign({ sub }))
    if (result.ok) return 'ok'
    expect(result.refusal).toMatchObject({ code: 'state_unavailable', retryAfterSeconds: 5 })
    const last = result.refusal.reasons.at(-1)
    expect(JSON.stringify(result.refusal)).not.toContain('token-of-the-broker')
    return `${last?.rule}: ${last?.detail}`
  }

  it.each([
    ['the broker may not ask', { status: 403, body: {} }, /answered 403$/],
    ['the server is broken', { status: 500, body: {} }, /answered 500$/],
    ['it sends the token elsewhere', { status: 307, body: {} }, /redirects, which is not followed$/],
    ['it answers something else', { body: [] }, /something that is no TokenReview$/],
    ['it answers no JSON', { body: '{' }, /something that is no TokenReview$/],
    ['a yes that is text', { body: { status: { authenticated: 'true' } } }, /something that is no TokenReview$/],
    ['it never ends', { body: ' '.repeat(maxDocumentBytes + 1) }, /sent more than \d+ bytes$/],
  ])('when %s', async (_, answer, why) => {
    server.answer(() => answer)
    expect(await unavailable(open())).toMatch(why)
  })

  it('when it does not answer in time', async () => {
    server.answer(() => undefined)
    const s = open()
    const outcome = unavailable(s)
    await expect.poll(() => server.asked.length).toBe(1)
    await s.clock.advance(fetchTimeoutMs)
    expect(await outcome).toMatch(/took longer than 5 s$/)
  })

  it('when nobody is there', async () => {
    // Port 1 is reserved and needs no listener to refuse.
    expect(await unavailable(open({ url: 'https://localhost:1' }))).toMatch(
      /localhost:1 cannot be reached \(ECONNREFUSED\)$/,
    )
  })

  it('when somebody else is there, whom the certificate file does not vouch for', async () => {
    const other = join(server.caFile, '..', 'other.crt')
    await writeFile(other, (await selfSigned('somebody else')).cert)
    expect(await unavailable(open({ ca_file: other }))).toMatch(/cannot be reached \(DEPTH_ZERO_SELF_SIGNED_CERT\)$/)
    await writeFile(other, 'this is no certificate')
    expect(await unavailable(open({ ca_file: other }))).toMatch(/kubernetes.token_review: /)
    expect(server.asked).toEqual([])
  })

  it('when a file is not there, or the address is not safe', async () => {
    const none = join(server.caFile, '..', 'none')
    expect(await unavailable(open({ token_file: none }))).toMatch(/token file for reviews cannot be read \(ENOENT\)$/)
    expect(await unavailable(open({ ca_file: none }))).toMatch(
      /certificate file for reviews cannot be read \(ENOENT\)$/,
    )
    const insecure = server.url.replace('https', 'http')
    expect(await unavailable(open({ url: insecure }))).toMatch(/address of the API server is not https$/)
    expect(server.asked).toEqual([])
  })

  it('reads its own token anew each time, because it is rotated', async () => {
    const s = open()
    await s.codeOf(await s.sign({ sub }))
    await writeFile(server.tokenFile, 'the-next-token')
    await s.codeOf(await s.sign({ sub }))
    expect(server.asked.map(({ authorization }) => authorization)).toEqual([
      'Bearer token-of-the-broker',
      'Bearer the-next-token',
    ])
  })
})

/** An issuer with keys of its own, to forge with. */
async function startedElsewhere(): Promise<TestIssuer> {
  const forger = await startIssuer()
  await forger.close()
  return forger
}
