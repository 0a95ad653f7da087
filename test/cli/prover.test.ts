import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CompactEncrypt, importJWK } from 'jose'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { newPair, type Pair } from '../support/dpop.ts'
import { runWrit } from '../support/serve.ts'
import { ended, grantId, issued, ok, password, type ScriptedBroker, scriptedBroker } from './scripted-broker.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-prover-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let broker: ScriptedBroker
afterEach(() => broker?.close())

const pem = (key: ReturnType<typeof generateKeyPairSync>['privateKey'], rest = {}) =>
  key.export({ format: 'pem', type: 'pkcs8', ...rest })
const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const fileOf = (text: string | Buffer): string => {
  const file = join(folder, `${Math.random()}.key`)
  writeFileSync(file, text)
  return file
}
const get = (...args: string[]) =>
  runWrit(['get', '--purpose', 'read-orders', '--delivery', 'jwe', ...args], {
    env: { WRIT_URL: broker.url, WRIT_TOKEN: 'tok.en' },
  })

const revoke = `POST /v1/grants/${grantId}/revoke`
const answering = async (answer: ReturnType<typeof issued>): Promise<ScriptedBroker> =>
  scriptedBroker({ 'POST /v1/credentials': () => answer, [revoke]: () => ended() })

async function jweFor(
  { jwk }: Pair,
  header: object,
  secret: unknown = { password },
  alg = 'ECDH-ES+A256KW',
): Promise<string> {
  return new CompactEncrypt(new TextEncoder().encode(JSON.stringify(secret)))
    .setProtectedHeader({ alg, enc: 'A256GCM', ...header })
    .encrypt(await importJWK(jwk, alg))
}

describe('an answer to a request for delivery jwe', () => {
  it('is opened with the key of the caller, which is proved with the scheme DPoP', async () => {
    const pair = await newPair()
    const jwe = await jweFor(pair, { kid: pair.jkt, grant: grantId })
    broker = await answering(issued(60_000, { delivery: 'jwe', secret: { jwe } }))
    const exit = await get('--dpop-key', fileOf(JSON.stringify(pair.privateJwk)), '--format', 'raw:password')
    expect(exit).toMatchObject({ code: 0, stdout: password, stderr: '' })
    expect(broker.seen.map(({ token }) => token)).toEqual(['DPoP tok.en'])
  })

  it.each<[string, (pair: Pair, other: Pair) => Promise<Parameters<typeof issued>[1]>, RegExp]>([
    ['in the open', async () => ({}), /delivered the secret plain, and jwe was asked for/],
    ['that is no JWE', async () => ({ delivery: 'jwe', secret: { password } }), /it is no JWE/],
    [
      'for another key',
      async (pair, other) => ({
        delivery: 'jwe',
        secret: { jwe: await jweFor(other, { kid: pair.jkt, grant: grantId }) },
      }),
      /not encrypted to this key/,
    ],
    [
      'for another grant',
      async (pair) => ({ delivery: 'jwe', secret: { jwe: await jweFor(pair, { kid: pair.jkt, grant: 'gr_other' }) } }),
      /for another grant or key/,
    ],
    [
      'that names another key',
      async (pair, other) => ({
        delivery: 'jwe',
        secret: { jwe: await jweFor(pair, { kid: other.jkt, grant: grantId }) },
      }),
      /for another grant or key/,
    ],
    [
      'without fields',
      async (pair) => ({
        delivery: 'jwe',
        secret: { jwe: await jweFor(pair, { kid: pair.jkt, grant: grantId }, ['a']) },
      }),
      /it holds no fields/,
    ],
    [
      'by another algorithm',
      async (pair) => ({
        delivery: 'jwe',
        secret: { jwe: await jweFor(pair, { kid: pair.jkt, grant: grantId }, { password }, 'ECDH-ES') },
      }),
      /not encrypted to this key/,
    ],
  ])('%s is a fault, and the credential is handed back', async (_, make, message) => {
    const [pair, other] = [await newPair(), await newPair()]
    broker = await answering(issued(60_000, await make(pair, other)))
    const exit = await get('--dpop-key', fileOf(JSON.stringify(pair.privateJwk)))
    expect(exit).toMatchObject({ code: 1, stdout: '' })
    expect(exit.stderr).toMatch(message)
    expect(exit.stderr).not.toContain(password)
    expect(broker.requests(revoke)).toHaveLength(1)
  })
})

describe('--dpop-key', () => {
  it.each<[string, () => string]>([
    ['a public key', () => JSON.stringify({ kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: 'A'.repeat(43) })],
    ['a symmetric key', () => JSON.stringify({ kty: 'oct', k: 'c2VjcmV0' })],
    [
      'a curve nobody signs proofs with',
      () => pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey) as string,
    ],
    ['a passphrase', () => pem(p256(), { cipher: 'aes-256-cbc', passphrase: 'x' }) as string],
    ['text', () => 'hello'],
    ['a list', () => '[]'],
    ['nothing', () => ''],
    ['too much', () => 'a'.repeat(70_000)],
  ])('a file with %s is refused before anything is sent', async (_, text) => {
    broker = await scriptedBroker({})
    const exit = await get('--dpop-key', fileOf(text()))
    expect(exit).toMatchObject({ code: 2, stdout: '' })
    expect(exit.stderr).toMatch(/--dpop-key .*: it (holds no private key|is too large)/)
    expect(broker.seen).toEqual([])
  })

  it('of Ed25519 can prove, and cannot open: it is refused where the secret is to be encrypted, and nowhere else', async () => {
    broker = await scriptedBroker({ 'GET /v1/grants': () => ok({ grants: [], next: null }) })
    const file = fileOf(pem(generateKeyPairSync('ed25519').privateKey) as string)
    const exit = await get('--dpop-key', file)
    expect(exit).toMatchObject({ code: 2, stdout: '' })
    expect(exit.stderr).toMatch(/needs an EC or RSA key/)
    const env = { WRIT_URL: broker.url, WRIT_TOKEN: 'tok.en' }
    expect(await runWrit(['grants', '--json', '--dpop-key', file], { env })).toMatchObject({ code: 0 })
    expect(broker.seen.map(({ token }) => token)).toEqual(['DPoP tok.en'])
  })
})
