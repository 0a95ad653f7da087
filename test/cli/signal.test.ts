import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { runWrit } from './run-writ.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

let world: World
let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'writ-signal-'))
  const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k1', alg: 'ES256' }
  world = await startWorld({
    policies: ({ write }) =>
      write(
        'issuers/idp.yaml',
        `kind: Issuer
name: idp
url: https://idp.example.com
keys: { jwks: ${JSON.stringify({ keys: [jwk] })} }
signals: { audience: https://writ.example.com, events: [session-revoked], speaks_for: [cluster-eu] }
`,
      ),
  })
})
afterAll(async () => {
  await world?.stop()
  await rm(dir, { recursive: true, force: true })
})

const signal = (...args: string[]) =>
  runWrit(['signal', ...args, '--issuer', world.stack.issuer.url], { env: { WRIT_URL: world.url } })
const received = async () =>
  (await world.entries({ kind: 'signal.received' })).map(({ signal: name, source }) => `${source} ${name}`)

describe('writ signal', () => {
  test('signed by writ dev, about somebody of its policies', async () => {
    const { body } = await world.issue('checkout', { purpose: 'read-orders' })
    const sent = await signal('--event', 'session-revoked', '--subject', 'checkout')
    expect(sent).toMatchObject({ status: 0, out: '202: the signal is taken\n', err: '' })
    await eventually(async () => (await world.entries({ grant: body.grant, kind: 'grant.ended' }))[0], 'it ends')
    expect(await world.login(body.secret)).toMatch(/^28/)
    const json = await signal('--event', 'verification', '--json')
    expect(json).toMatchObject({ status: 0, out: '{"status":202}\n' })
    const named = await signal(
      '--event',
      'credential-change',
      '--subject',
      'people/alice@payments',
      '--payload',
      '{"change_type":"create"}',
    )
    expect(named.status).toBe(0)
    expect(await received()).toEqual([
      'trust-signals session-revoked',
      'trust-signals verification',
      'trust-signals credential-change',
    ])
  })

  test('printed, and sent as it was a second time', async () => {
    const { out } = await signal('--event', 'verification', '--print')
    expect(out.split('.')).toHaveLength(3)
    await writeFile(join(dir, 'set'), out)
    expect(await signal('--set-file', join(dir, 'set'))).toMatchObject({ status: 0 })
    const again = await signal('--set-file', join(dir, 'set'), '--json')
    expect(again.status).toBe(3)
    expect(JSON.parse(again.out)).toMatchObject({ status: 400, err: 'invalid_request' })
  })

  test('signed with a key of one’s own', async () => {
    await writeFile(join(dir, 'key.pem'), pem, { mode: 0o600 })
    const order = [
      '--from',
      'https://idp.example.com',
      '--audience',
      'https://writ.example.com',
      '--key-file',
      join(dir, 'key.pem'),
    ]
    const subject = 'https://kubernetes.default.svc/system:serviceaccount:orders:checkout'
    expect(await signal('--event', 'session-revoked', '--subject', subject, ...order)).toMatchObject({ status: 0 })
    expect((await received()).at(-1)).toBe('idp session-revoked')
    // Not an event it may send, and not a subject it may speak for.
    expect(await signal('--event', 'account-disabled', '--subject', subject, ...order)).toMatchObject({
      status: 3,
      out: expect.stringContaining('400 access_denied'),
    })
    const person = await signal(
      '--event',
      'session-revoked',
      '--subject',
      'https://login.example.com/alice@payments',
      ...order,
    )
    expect(person).toMatchObject({ status: 3, out: expect.stringContaining('access_denied') })
    const jwk = { ...(await exportJWK(generateKeyPairSync('ed25519').privateKey)), kid: 'k2' }
    await writeFile(join(dir, 'other.json'), JSON.stringify(jwk))
    const other = await signal(
      '--event',
      'session-revoked',
      '--subject',
      subject,
      ...order.slice(0, -1),
      join(dir, 'other.json'),
    )
    expect(other).toMatchObject({ status: 4, out: expect.stringContaining('authentication_failed') })
    await writeFile(join(dir, 'secret.pem'), 'hunter2')
    const none = await signal('--event', 'verification', ...order.slice(0, -1), join(dir, 'secret.pem'))
    expect(none.status).toBe(1)
    expect(none.err).not.toContain('hunter2')
  })

  test('says what is missing', async () => {
    for (const [args, what] of [
      [['--subject', 'checkout'], '--event is missing'],
      [['--event', 'session-ended', '--subject', 'checkout'], '--event is one of'],
      [['--event', 'session-revoked'], '--subject is missing'],
      [['--event', 'verification', '--payload', '[1]'], '--payload is a JSON object'],
      [['--event', 'session-revoked', '--subject', 'nobody-here'], 'no workload and no team member'],
      [['--event', 'session-revoked', '--subject', 'checkout', '--from', 'people'], 'called people'],
      [['--event', 'verification', '--key-file', 'x'], '--from is missing'],
    ] as const) {
      const ran = await signal(...args)
      expect(ran.status, what).toBe(2)
      expect(ran.err).toContain(what)
    }
    const away = await runWrit(['signal', '--set-file', join(dir, 'set')], { env: { WRIT_URL: 'http://127.0.0.1:1' } })
    expect(away.status).toBe(5)
  })
})
