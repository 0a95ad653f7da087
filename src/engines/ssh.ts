import sshpk from 'sshpk'
import { z } from 'zod'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { renderTemplate } from '../base/template.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, Minted, MintOrder, PublicId } from './engine.ts'
import { VaultFault } from './faults.ts'
import { refuseLongLife } from './life.ts'
import { paramsOf, textListParam, vaultPath } from './target.ts'

const params = z.strictObject({
  valid_principals: textListParam.optional(),
  /** Written by sshd into every log line of the session that the certificate opens. */
  key_id: z.string().max(256).default('writ:{{workload}}:{{grant}}'),
  cert_type: z.enum(['user', 'host']).default('user'),
  /** Each `name` or `name=value`; the role's defaults when absent. */
  extensions: textListParam.optional(),
  critical_options: textListParam.optional(),
})

const signed = z.object({
  serial_number: z.string().regex(/^[0-9a-f]{1,16}$/),
  signed_key: z.string().min(1).max(32_768),
})

/** Signs the caller's public key (`mount/sign/role`): the private key never leaves the workload. Nothing can end a certificate early. */
export function createSshEngine(deps: EngineDeps): Engine {
  const { session, leases, clock } = deps

  async function mint(order: MintOrder): Promise<Minted> {
    const fixed = paramsOf(params, order.target)
    const publicKey = parsePublicKey(order.callerParams.public_key)
    const path = vaultPath(order.target.mount, 'sign', order.target.role)
    const keyId = renderTemplate(fixed.key_id, order.names)
    const body = {
      public_key: publicKey,
      key_id: keyId,
      cert_type: fixed.cert_type,
      ttl: `${order.ttlSeconds}s`,
      ...(fixed.valid_principals === undefined
        ? {}
        : { valid_principals: fixed.valid_principals.map((text) => renderTemplate(text, order.names)).join(',') }),
      ...(fixed.extensions === undefined ? {} : { extensions: named(fixed.extensions, order) }),
      ...(fixed.critical_options === undefined ? {} : { critical_options: named(fixed.critical_options, order) }),
    }
    const publicIds: PublicId[] = [{ type: 'ssh_key_id', value: keyId }]
    if (order.delivery === 'wrapped') {
      const call = (options: object) => session.write(path, body, options)
      return deps.mintWrapped({ order, leased: false, publicIds, call })
    }
    const startedMs = clock.now()
    const answer = await session.write(path, body, { mints: true })
    const parsed = signed.safeParse(answer.data)
    const certificate = parsed.success ? readCertificate(parsed.data.signed_key) : undefined
    // A certificate that was made and not handed out opens nothing: the outcome is known.
    if (!parsed.success || certificate === undefined || certificate.keyId !== keyId) {
      throw new VaultFault('unreadable', `POST ${path}: the answer holds no certificate for what was asked`)
    }
    refuseLongLife(path, certificate.expiresAtMs, startedMs, order.ttlSeconds)
    return {
      secret: new Secret(parsed.data),
      handle: undefined,
      expiresAtMs: certificate.expiresAtMs,
      renewable: false,
      // sshd logs the serial in decimal, Vault says it in hexadecimal.
      publicIds: [...publicIds, { type: 'ssh_serial', value: BigInt(`0x${parsed.data.serial_number}`).toString() }],
    }
  }

  return {
    kind: 'ssh',
    revocable: () => false,
    acceptedParams: ['public_key'],
    mint,
    renew: leases.renew,
    revoke: leases.revoke,
    leases: async () => undefined,
    lookUp: leases.lookUp,
    needs: ({ mount, role }) => [{ path: `${mount}/sign/${role}`, capability: 'update' }],
  }
}

function named(list: readonly string[], order: MintOrder): Record<string, string> {
  return Object.fromEntries(
    list.map((text) => {
      const at = text.indexOf('=')
      return at < 0 ? [text, ''] : [text.slice(0, at), renderTemplate(text.slice(at + 1), order.names)]
    }),
  )
}

const maxKeyText = 8_192
const publicKeyLine =
  /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})(?: [\x20-\x7e]{0,512})?\n?$/

/**
 * One OpenSSH public key on one line, from the caller: attacker-controlled. The comment is dropped, and what goes on is
 * the key as it was understood, not the text as it came.
 * @throws BrokerFault `request_invalid`
 */
function parsePublicKey(text: string | undefined): string {
  const invalid = (why: string): BrokerFault => new BrokerFault('request_invalid', `params.public_key ${why}`)
  if (text === undefined) throw invalid('is missing: send the public key to be signed')
  if (text.length > maxKeyText) throw invalid(`is longer than ${maxKeyText} characters`)
  const [, type = '', base64 = ''] = publicKeyLine.exec(text) ?? []
  if (type === '') throw invalid('is not one line of an OpenSSH public key (ed25519, ECDSA or RSA)')
  let key: sshpk.Key
  try {
    key = sshpk.parseKey(`${type} ${base64}`, 'ssh')
  } catch {
    throw invalid('does not hold the key its type promises')
  }
  if (key.type === 'rsa' && (key.size < 2048 || key.size > 16_384)) throw invalid('is an RSA key of an unsafe size')
  return key.toString('ssh').split(' ').slice(0, 2).join(' ')
}

function readCertificate(signedKey: string): { keyId: string; expiresAtMs: number } | undefined {
  try {
    const certificate = sshpk.parseCertificate(signedKey, 'openssh')
    // The typings leave out what the format carries beyond X.509.
    const { openssh } = certificate.signatures as unknown as { openssh: { keyId: string } }
    return { keyId: openssh.keyId, expiresAtMs: certificate.validUntil.getTime() }
  } catch {
    return undefined
  }
}
