import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, describe, expect, it } from 'vitest'
import { authorityExtensions, leafExtensions, makeCertificate } from '../../support/certificates.ts'
import { onPath, runProgram } from '../../support/program.ts'
import { getAs } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-pem-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'bundle.pem')

describe.skipIf(!onPath('openssl', 'curl'))('needs openssl and curl on PATH: pem', () => {
  const root = makeCertificate(folder, 'root', { extensions: authorityExtensions })
  const between = makeCertificate(folder, 'between', { issuer: root, extensions: authorityExtensions })
  const leaf = makeCertificate(folder, 'leaf', { issuer: between, extensions: leafExtensions })
  // As Vault writes them: without a newline at the end.
  const secret = {
    certificate: leaf.certificate.trim(),
    private_key: leaf.key.trim(),
    private_key_type: 'ec',
    ca_chain: [between.certificate.trim()],
    issuing_ca: between.certificate.trim(),
    serial_number: '01:02',
  }

  it('holds what openssl verifies and what curl shows to a server that trusts the root alone', async () => {
    expect(await getAs(secret, ['--format', 'pem', '--out', file])).toMatchObject({ status: 0, out: '', err: '' })
    const verify = ['verify', '-CAfile', root.path, '-untrusted', file, file]
    expect((await runProgram('openssl', verify)).stdout).toBe(`${file}: OK\n`)
    const named = await runProgram('openssl', ['x509', '-in', file, '-noout', '-subject', '-nameopt', 'multiline'])
    expect(named.stdout).toContain('leaf')

    const tls = { key: leaf.key, cert: leaf.certificate + between.certificate, ca: root.certificate }
    const server = createServer({ ...tls, requestCert: true }, ({ socket }, response) => {
      response.end((socket as TLSSocket).getPeerCertificate().subject.CN)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    const shown = await runProgram('curl', ['-sS', '--cert', file, '--cacert', root.path, url])
    server.close()
    expect(shown).toEqual({ code: 0, stdout: 'leaf', stderr: '' })
  })

  it('holds no key where it never left the caller, and the issuer where there is no chain', async () => {
    const { certificate, issuing_ca } = secret
    const { out } = await getAs({ certificate, issuing_ca }, ['--format', 'pem'])
    expect(out).toBe(`${certificate}\n${issuing_ca}\n`)
  })

  it.each([
    ['certificate', secret.private_key],
    ['certificate', `${secret.certificate}\nssl_verify off;`],
    ['private_key', secret.certificate],
    ['ca_chain', [secret.private_key]],
  ])('hands back a %s that is something else', async (field, value) => {
    const got = await getAs({ ...secret, [field]: value }, ['--format', 'pem'])
    expect(got).toMatchObject({ status: 1, out: '', handedBack: 1 })
    expect(got.err).toContain(`"${field}"`)
    expect(got.err).not.toContain('BEGIN')
  })

  it('keeps what stood in the file when nothing can be written', async () => {
    writeFileSync(file, 'before')
    expect((await getAs({}, ['--format', 'pem', '--out', file])).handedBack).toBe(1)
    expect((await runProgram('cat', [file])).stdout).toBe('before')
  })
})
