import 'reflect-metadata'
import { spawnSync } from 'node:child_process'
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type JsonGeneralName,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509'
import { describe, expect, test } from 'vitest'
import type { Minted, MintTarget } from '../../src/engines/engine.ts'
import { eventually } from '../support/child.ts'
import { text } from '../support/vault-setup.ts'
import { type ContractWorld, field, handleOf, listedBy, unwrap } from './engine-world.ts'

const params = {
  common_name: '{{workload}}.example.test',
  uri_sans: ['spiffe://example.test/workload/{{workload}}/grant/{{grant}}'],
} as const
const issuing = (role: string, over: MintTarget['params'] = {}) => ({
  engine: 'pki',
  role,
  params: { ...params, ...over },
})

async function request(name: string, names: JsonGeneralName[] = []): Promise<{ csr: string; spki: Buffer }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const made = await Pkcs10CertificateRequestGenerator.create({
    name,
    keys,
    signingAlgorithm: algorithm,
    extensions: names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)],
  })
  return { csr: made.toString('pem'), spki: Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey)) }
}

const hasOpenssl = spawnSync('openssl', ['version']).error === undefined

/** What `openssl verify` says of a certificate, heeding the CRL of its CA. */
function verifyWithOpenssl(minted: Minted, crl: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'writ-pki-'))
  try {
    const file = (name: string, content: string): string => {
      writeFileSync(join(folder, name), content)
      return join(folder, name)
    }
    const trust = ['-CAfile', file('ca.pem', field(minted, 'issuing_ca')), '-CRLfile', file('crl.pem', crl)]
    const leaf = file('leaf.pem', field(minted, 'certificate'))
    const { stdout, stderr } = spawnSync('openssl', ['verify', '-crl_check', ...trust, leaf], { encoding: 'utf8' })
    return `${stdout}${stderr}`
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export function pkiContract(use: () => ContractWorld): void {
  const revokedAt = async (serial: string): Promise<number> => {
    const { body } = await use().root('GET', `pki/cert/${serial}`)
    return (body as { data: { revocation_time: number } }).data.revocation_time
  }

  describe('pki', () => {
    test('the certificate verifies against the CA, carries workload and grant, ends with the grant, fits its key', async () => {
      const { mint, order } = use()
      const minted = await mint(order(issuing('workload'), { ttlSeconds: 300 }))
      const certificate = new X509Certificate(field(minted, 'certificate'))
      const ca = new X509Certificate(field(minted, 'issuing_ca'))
      expect(certificate.verify(ca.publicKey)).toBe(true)
      expect(certificate.checkIssued(ca)).toBe(true)
      expect(certificate.subject).toBe('CN=checkout.example.test')
      const { grant } = order(issuing('workload')).names
      expect(certificate.subjectAltName).toContain('DNS:checkout.example.test')
      expect(certificate.subjectAltName).toContain(`URI:spiffe://example.test/workload/checkout/grant/${grant}`)
      expect(certificate.checkPrivateKey(createPrivateKey(field(minted, 'private_key')))).toBe(true)
      expect(minted.expiresAtMs).toBe(certificate.validToDate.getTime())
      expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 301_000)
      const serial = certificate.serialNumber.toLowerCase().replaceAll(/(..)(?=.)/g, '$1:')
      expect(minted.publicIds).toEqual([{ type: 'certificate_serial', value: serial }])
      expect(minted.renewable).toBe(false)
    })

    test('revoking puts the serial on the record of the CA; revoking again succeeds', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(issuing('workload')))
      const serial = field(minted, 'serial_number')
      expect(await revokedAt(serial)).toBe(0)
      await engine('pki').revoke(handleOf(minted))
      expect(await revokedAt(serial)).toBeGreaterThan(0)
      await engine('pki').revoke(handleOf(minted))
    })

    test.skipIf(!hasOpenssl)(
      'needs openssl on PATH: by the CRL it refuses what was revoked, and takes the rest',
      async () => {
        const { engine, mint, order, root } = use()
        const [kept, revoked] = [await mint(order(issuing('workload'))), await mint(order(issuing('workload')))]
        await engine('pki').revoke(handleOf(revoked))
        const { body } = await root('GET', 'pki/cert/crl')
        const crl = text(body, 'data', 'certificate')
        expect(verifyWithOpenssl(kept, crl)).toMatch(/: OK$/m)
        expect(verifyWithOpenssl(revoked, crl)).toContain('certificate revoked')
      },
    )

    test('a role that stores nothing says so: no handle, not revocable', async () => {
      const { engine, mint, order } = use()
      const unstored = order(issuing('unstored', { no_store: true }))
      expect((await mint(unstored)).handle).toBeUndefined()
      expect(engine('pki').revocable(unstored.target)).toBe(false)
      expect(engine('pki').revocable(order(issuing('workload')).target)).toBe(true)
    })

    test('a role that was said to store but does not is found out when revoking, not taken for success', async () => {
      const { engine, mint, order, failure } = use()
      const minted = await mint(order(issuing('unstored')))
      expect(await failure(engine('pki').revoke(handleOf(minted)))).toMatchObject({ code: 'engine_refused' })
    })

    test('Vault says of a certificate when it was revoked; one that it does not store is taken for valid', async () => {
      const { engine, mint, order, root } = use()
      const minted = await mint(order(issuing('workload')))
      expect(await engine('pki').lookUp(handleOf(minted))).toEqual({ live: true, issuedAtMs: undefined })
      await root('POST', 'pki/revoke', { serial_number: field(minted, 'serial_number') })
      const state = await engine('pki').lookUp(handleOf(minted))
      if (state.live) throw new Error('it was revoked')
      expect(Math.abs((state.endedAtMs ?? 0) - Date.now())).toBeLessThan(60_000)
      const unstored = await mint(order(issuing('unstored')))
      expect(await engine('pki').lookUp(handleOf(unstored))).toMatchObject({ live: true })
    })

    test('certificates with leases are listed and revoked by lease', async () => {
      const { engine, mint, order } = use()
      const leased = order(issuing('leased', { generate_lease: true }))
      const minted = await mint(leased)
      expect(handleOf(minted).type).toBe('lease')
      expect(await listedBy(engine('pki'), leased.target)).toContainEqual(handleOf(minted))
      await engine('pki').revoke(handleOf(minted))
      expect(await revokedAt(field(minted, 'serial_number'))).toBeGreaterThan(0)
      expect(await engine('pki').leases(order(issuing('workload')).target)).toBeUndefined()
    })

    test('a CSR is signed for its own key; no private key exists here', async () => {
      const { mint, order } = use()
      const { csr, spki } = await request('CN=checkout.example.test', [{ type: 'dns', value: 'checkout.example.test' }])
      const minted = await mint(order(issuing('workload'), { callerParams: { csr } }))
      const certificate = new X509Certificate(field(minted, 'certificate'))
      expect(certificate.publicKey.export({ type: 'spki', format: 'der' }).equals(spki)).toBe(true)
      expect(certificate.subjectAltName).toContain('URI:spiffe://example.test/workload/checkout/grant/')
      expect(minted.secret.reveal().private_key).toBeUndefined()
    })

    test('a CSR without names gets those of the Credential', async () => {
      const { mint, order } = use()
      const { csr } = await request('')
      const minted = await mint(order(issuing('workload'), { callerParams: { csr } }))
      expect(new X509Certificate(field(minted, 'certificate')).subject).toBe('CN=checkout.example.test')
    })

    test.each([
      ['another common name', 'CN=admin.example.test', []],
      ['more subject than a name', 'CN=checkout.example.test, O=Example', []],
      ['another DNS name', '', [{ type: 'dns', value: 'admin.example.test' }]],
      ['another SPIFFE id', '', [{ type: 'url', value: 'spiffe://example.test/workload/admin/grant/x' }]],
      ['an address', '', [{ type: 'ip', value: '127.0.0.1' }]],
    ] as const)('a CSR that asks for %s is refused before it reaches Vault', async (_, name, names) => {
      const { engine, order, failure } = use()
      const { csr } = await request(name, [...names])
      const error = await failure(engine('pki').mint(order(issuing('workload'), { callerParams: { csr } })))
      expect(error).toMatchObject({ code: 'request_invalid' })
    })

    test.each([
      '',
      'not a request',
      `-----BEGIN CERTIFICATE REQUEST-----\n${'A'.repeat(20_000)}\n-----END CERTIFICATE REQUEST-----`,
      '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----',
    ])('what is not a CSR is refused as the mistake of the caller (%#)', async (csr) => {
      const { engine, order, failure } = use()
      const error = await failure(engine('pki').mint(order(issuing('workload'), { callerParams: { csr } })))
      expect(error).toMatchObject({ code: 'request_invalid' })
    })

    test('a name outside the role is refused by Vault, with its class and without its words', async () => {
      const { engine, order, failure } = use()
      const outside = order(issuing('workload', { common_name: 'checkout.elsewhere.test' }))
      const error = await failure(engine('pki').mint(outside))
      expect(error).toMatchObject({ code: 'engine_refused', errorClass: 'name not allowed' })
      expect(String(error)).not.toContain('elsewhere')
    })

    test('wrapped with leases, revoking reaches the certificate that only the caller has seen', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(issuing('leased', { generate_lease: true }), { delivery: 'wrapped' }))
      const opened = await unwrap(use(), minted)
      const serial = text(opened.body, 'data', 'serial_number')
      await engine('pki').revoke(handleOf(minted))
      const revoked = async () => ((await revokedAt(serial)) > 0 ? true : undefined)
      expect(await eventually(revoked, 'the certificate is revoked')).toBe(true)
    })

    test('wrapped without leases, nobody claims that the certificate can be revoked', async () => {
      const { mint, order } = use()
      expect((await mint(order(issuing('workload'), { delivery: 'wrapped' }))).handle).toBeUndefined()
    })
  })
}
