import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sshpk from 'sshpk'
import { describe, expect, test } from 'vitest'
import { type ContractWorld, field, unwrap } from './engine-world.ts'

const params = {
  valid_principals: ['deploy', 'app-{{workload}}'],
  extensions: ['permit-pty'],
  critical_options: ['source-address=10.0.0.0/8,192.0.2.1/32'],
} as const
const deploy = { engine: 'ssh', role: 'deploy', params }
const publicKey = sshpk.generatePrivateKey('ed25519').toPublic().toString('ssh')
const callerParams = { public_key: publicKey }
const smallRsa = sshpk
  .parseKey(
    generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ type: 'spki', format: 'pem' }),
    'pem',
  )
  .toString('ssh')
const hasKeygen = spawnSync('ssh-keygen', ['-?']).error === undefined

export function sshContract(use: () => ContractWorld): void {
  describe('ssh', () => {
    test('the certificate is for the key of the caller, names workload and grant, and ends with the grant', async () => {
      const { engine, mint, order } = use()
      const { names, target } = order(deploy)
      const minted = await mint(order(deploy, { callerParams, ttlSeconds: 300 }))
      const certificate = sshpk.parseCertificate(field(minted, 'signed_key'), 'openssh')
      expect(certificate.subjectKey.fingerprint('sha256').toString()).toBe(
        sshpk.parseKey(publicKey, 'ssh').fingerprint('sha256').toString(),
      )
      const keyId = `writ:checkout:${names.grant}`
      const serial = BigInt(`0x${field(minted, 'serial_number')}`).toString()
      expect(minted.publicIds).toEqual([
        { type: 'ssh_key_id', value: keyId },
        { type: 'ssh_serial', value: serial },
      ])
      expect(minted.expiresAtMs).toBe(certificate.validUntil.getTime())
      expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 301_000)
      expect(minted.expiresAtMs).toBeGreaterThan(Date.now() + 290_000)
      expect(minted.handle).toBeUndefined()
      expect(engine('ssh').revocable(target)).toBe(false)
      if (!hasKeygen) return
      const shown = readWithOpenSsh(field(minted, 'signed_key'))
      for (const line of [`Key ID: "${keyId}"`, `Serial: ${serial}`, 'deploy', 'app-checkout', 'permit-pty']) {
        expect(shown).toContain(line)
      }
      expect(shown).toContain('source-address 10.0.0.0/8,192.0.2.1/32')
      expect(shown).not.toContain('permit-port-forwarding')
    })

    test('a principal or key id that the role does not allow is refused with what to change', async () => {
      const { engine, order, failure } = use()
      const root = order({ ...deploy, params: { valid_principals: 'root' } }, { callerParams })
      expect(await failure(engine('ssh').mint(root))).toMatchObject({
        code: 'engine_refused',
        errorClass: 'principal not allowed',
      })
      const unnamed = order({ ...deploy, role: 'no-key-id', params: { valid_principals: 'deploy' } }, { callerParams })
      expect(String(await failure(engine('ssh').mint(unnamed)))).toContain('allow_user_key_ids=true')
    })

    test.each([
      ['no key', undefined],
      ['two lines', `${publicKey}\n${publicKey}`],
      ['options before the key', `command="sh" ${publicKey}`],
      ['a private key', sshpk.generatePrivateKey('ed25519').toString('openssh')],
      ['a type that is not the key', publicKey.replace('ssh-ed25519 ', 'ssh-rsa ')],
      ['a small RSA key', smallRsa],
      ['a long text', `ssh-ed25519 ${'A'.repeat(20_000)}`],
      ['an escape in the comment', 'ssh-ed25519 AAAA \u001b[2J'],
    ])('%s is refused as the mistake of the caller, and not repeated', async (_, key) => {
      const { engine, order, failure } = use()
      const params: Record<string, string> = key === undefined ? {} : { public_key: key }
      const error = await failure(engine('ssh').mint(order(deploy, { callerParams: params })))
      expect(error).toMatchObject({ code: 'request_invalid' })
      if (key !== undefined) expect(String(error)).not.toContain(key.slice(0, 60))
    })

    test('wrapped, the key id is known although the certificate is not', async () => {
      const { mint, order } = use()
      const minted = await mint(order(deploy, { callerParams, delivery: 'wrapped' }))
      expect(minted.publicIds.map(({ type }) => type)).toEqual(['ssh_key_id', 'wrapping_accessor'])
      const opened = await unwrap(use(), minted)
      expect(JSON.stringify(opened.body)).toContain('ssh-ed25519-cert-v01@openssh.com')
    })
  })
}

function readWithOpenSsh(signedKey: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'writ-ssh-'))
  try {
    const file = join(folder, 'key-cert.pub')
    writeFileSync(file, signedKey)
    return execFileSync('ssh-keygen', ['-L', '-f', file], { encoding: 'utf8' })
  } finally {
    rmSync(folder, { recursive: true })
  }
}
