import 'reflect-metadata'
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509'
import sshpk from 'sshpk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import type { PolicyFolder } from '../support/policy-folder.ts'
import { vaultApi } from '../support/vault-api.ts'

/** Gives the nightly report a user that stands, rotated every hour. */
async function addStaticRole(folder: PolicyFolder): Promise<void> {
  await folder.write(
    'credentials/ledger-app.yaml',
    `kind: Credential
name: ledger-app
engine: database
static: true
mount: database
role: ledger-app
environment: prod
sensitivity: low
ttl: { max: 1h }
`,
  )
  await folder.edit('workloads/nightly-report.yaml', (text) => {
    const [, purpose = ''] = text.split('  - id: read-orders')
    return `${text}  - id: write-ledger${purpose.replace('orders-ro', 'ledger-app')}`
  })
}

for (const vault of ['embedded', 'bao-dev'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`what each engine hands out over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({ vault, policies: addStaticRole })
    })
    afterAll(() => world?.stop())

    const unwrap = async (token: string | undefined) =>
      vaultApi(world.stack.vault.address, token ?? '')('POST', 'sys/wrapping/unwrap')

    /** Vault revokes the token at once and puts its leases in a queue, which takes moments more when it is busy. */
    async function expectGone(user: Record<string, string> | undefined): Promise<void> {
      await eventually(async () => (await world.leases('orders-ro')).length === 0 || undefined, 'that no lease is left')
      if (user !== undefined) expect(await world.login(user)).toMatch(/^28/)
    }

    test('a wrapped secret is unwrapped by its caller once, and dies with its grant', async () => {
      const { status, body } = await world.issue('checkout', { purpose: 'read-orders', delivery: 'wrapped' })
      expect(status).toBe(201)
      expect(body.delivery).toBe('wrapped')
      expect(body.secret.password).toBeUndefined()
      const first = await unwrap(body.secret.token)
      expect(first.status).toBe(200)
      const secret = (first.body as { data: Record<string, string> }).data
      expect(await world.login(secret)).toBe('in')
      expect((await unwrap(body.secret.token)).status).toBe(400)

      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
      expect(ended.body.outcome).toBe('revoked')
      await expectGone(secret)
    })

    test('a wrapped secret that is ended before anybody fetched it cannot be fetched any more', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders', delivery: 'wrapped' })
      await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
      const late = await unwrap(body.secret.token)
      const secret = (late.body as { data?: Record<string, string> } | undefined)?.data
      await expectGone(late.status === 200 ? secret : undefined)
    })

    test('a certificate carries the name of its workload, and its serial is on record', async () => {
      const { status, body } = await world.issue('checkout', { purpose: 'serve-tls', ttl: '1h' })
      expect(status).toBe(201)
      const certificate = new X509Certificate(body.secret.certificate ?? '')
      expect(certificate.subject).toContain('CN=checkout.internal.example.com')
      expect(certificate.subjectAltName).toContain('DNS:checkout.internal.example.com')
      expect(certificate.verify(new X509Certificate(body.secret.issuing_ca ?? '').publicKey)).toBe(true)
      expect(body.secret.private_key).toContain('PRIVATE KEY')
      const lifeMs = certificate.validToDate.getTime() - Date.parse(body.issued_at)
      expect(lifeMs).toBeLessThanOrEqual(3_600_000 + 1_000)
      expect(await serialOnRecord(body.grant)).toBe(certificate.serialNumber)
      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
      expect(ended.body.outcome).toBe('revoked')
      const known = await world.root('GET', `pki/cert/${(body.secret.serial_number ?? '').replaceAll(':', '-')}`)
      const { revocation_time: revokedAt } = (known.body as { data: { revocation_time: number } }).data
      expect(revokedAt).toBeGreaterThan(0)
    })

    const serialOnRecord = async (grant: string): Promise<string> => {
      const [issued] = await world.entries({ grant, kind: 'grant.issued' })
      const ids = issued?.ids as { type: string; value: string }[]
      const serial = ids.find(({ type }) => type === 'certificate_serial')?.value ?? ''
      return serial.replaceAll(/[:-]/g, '').toUpperCase()
    }

    test('with a signing request the key never leaves the workload, and a request for another name is refused', async () => {
      const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
      const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' }
      const csr = async (name: string): Promise<string> =>
        (await Pkcs10CertificateRequestGenerator.create({ name: `CN=${name}`, keys, signingAlgorithm })).toString('pem')
      const own = await csr('checkout.internal.example.com')
      const { status, body } = await world.issue('checkout', { purpose: 'serve-tls', ttl: '1h', params: { csr: own } })
      expect(status).toBe(201)
      expect(body.secret.private_key).toBeUndefined()
      const certificate = new X509Certificate(body.secret.certificate ?? '')
      expect(certificate.subject).toContain('CN=checkout.internal.example.com')
      const spki = Buffer.from(await crypto.subtle.exportKey('spki', keys.publicKey))
      expect(certificate.publicKey.export({ type: 'spki', format: 'der' }).equals(spki)).toBe(true)

      const foreign = { csr: await csr('payments.internal.example.com') }
      const answer = await world.issue('checkout', { purpose: 'serve-tls', ttl: '1h', params: foreign })
      // Refused, or signed for the name of the workload whatever the request says: never for the other name.
      if (answer.status === 201) {
        expect(new X509Certificate(answer.body.secret.certificate ?? '').subject).not.toContain('payments')
      } else expect([400, 403, 502]).toContain(answer.status)
      const nonsense = await world.issue('checkout', { purpose: 'serve-tls', params: { csr: 'not a request' } })
      expect(nonsense).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
    })

    test('a pipeline has its SSH key signed for the principals of the policy, with the grant in the key id', async () => {
      const { publicKey } = generateKeyPairSync('ed25519')
      const line = sshpk.parseKey(publicKey.export({ type: 'spki', format: 'pem' }), 'pem').toString('ssh')
      const { status, body } = await world.issue('shop-deploy', { purpose: 'deploy', params: { public_key: line } })
      expect(status).toBe(201)
      expect(body.revocable).toBe(false)
      const certificate = sshpk.parseCertificate(body.secret.signed_key ?? '', 'openssh')
      expect(certificate.subjects.map((subject) => subject.uid)).toEqual(['deploy'])
      expect(certificate.validUntil.getTime() - Date.now()).toBeLessThanOrEqual(30 * 60_000 + 35_000)
      const [issued] = await world.entries({ grant: body.grant, kind: 'grant.issued' })
      const ids = issued?.ids as { type: string; value: string }[]
      const keyId = ids.find(({ type }) => type === 'ssh_key_id')?.value ?? ''
      expect(keyId).toContain(body.grant)
      // The certificate itself says so: a login on a host leads to the grant.
      expect(Buffer.from((body.secret.signed_key ?? '').split(' ')[1] ?? '', 'base64').includes(keyId)).toBe(true)

      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'shop-deploy' })
      expect(ended.body.outcome).toBe('expires_only')
      const none = await world.issue('shop-deploy', { purpose: 'deploy' })
      expect(none).toMatchObject({ status: 400, body: { code: 'request_invalid', reasons: ['params.public_key'] } })
    })

    test('a static secret comes through its exception, has no end of its own, and says that nothing can end it', async () => {
      const { status, body } = await world.issue('nightly-report', { purpose: 'export', credential: 'vendor-api-key' })
      expect(status).toBe(201)
      expect(body).toMatchObject({ expires_at: null, revocable: false, renewable: false })
      expect(Object.keys(body.secret)).toEqual(['api_key'])
      const { body: stored } = await world.root('GET', 'secret/data/vendor/reporting')
      expect(body.secret.api_key).toBe((stored as { data: { data: { api_key: string } } }).data.data.api_key)
      const [intent] = await world.entries({ grant: body.grant, kind: 'grant.intent' })
      expect(intent).toMatchObject({ exception: 'nightly-report-static' })
      const [issued] = await world.entries({ grant: body.grant, kind: 'grant.issued' })
      expect(issued).toMatchObject({ static: true, revocable: false, rotation: body.rotation })
      expect(Date.parse(body.rotation.rotated_at)).toBeLessThanOrEqual(Date.now() + 1_000)
      expect(issued?.lease).toBeUndefined()
      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'nightly-report' })
      expect(ended.body.outcome).toBe('expires_only')
    })

    test('a static role ends by rotation only: the caller and the record see when, and a shorter life is refused', async () => {
      const asked = { purpose: 'write-ledger', ttl: '1h' }
      const { status, body } = await world.issue('nightly-report', asked)
      expect(status).toBe(201)
      expect(body).toMatchObject({ revocable: false, renewable: false, rotation: { every: 3600 } })
      expect(body.expires_at).toBe(body.rotation.rotates_at)
      expect(await world.login(body.secret)).toBe('in')
      const [issued] = await world.entries({ grant: body.grant, kind: 'grant.issued' })
      const ids = [{ type: 'database_user', value: 'ledger-app' }]
      expect(issued).toMatchObject({ static: false, revocable: false, rotation: body.rotation, ids })
      expect(issued?.expires).toBe(body.expires_at)

      const short = await world.issue('nightly-report', { ...asked, ttl: '5m' })
      expect(short).toMatchObject({ status: 502, body: { code: 'engine_refused' } })
      const failed = (await world.entries({ kind: 'grant.failed' })).at(-1)
      expect(failed?.detail).toContain('the password stands until')

      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'nightly-report' })
      expect(ended.body).toMatchObject({ outcome: 'expires_only' })
      expect((await world.root('POST', 'database/rotate-role/ledger-app', {})).status).toBeLessThan(300)
      expect(await world.login(body.secret)).toMatch(/^28/)
    })

    test('the lease in the ledger can be joined with what Vault lists, and not read', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders' })
      const [lease] = await world.leases('orders-ro')
      const [issued] = await world.entries({ grant: body.grant, kind: 'grant.issued' })
      const { hash = '', sealed = '' } = (issued?.lease ?? {}) as { hash?: string; sealed?: string }
      expect(hash).toBe(
        createHash('sha256')
          .update(JSON.stringify({ id: lease, type: 'lease' }))
          .digest('hex'),
      )
      expect(JSON.stringify(issued)).not.toContain(lease ?? 'no lease')
      expect(sealed.split('.')).toHaveLength(5)
      await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
    })
  })
}
