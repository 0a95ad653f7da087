import { randomBytes } from 'node:crypto'
import sshpk from 'sshpk'
import type { Clock } from '../../base/clock.ts'
import { sha256Hex } from '../../base/digest.ts'
import { type Backend, type Call, type Reply, systemMaxTtlSeconds, VaultError } from './backend.ts'
import { commaList, flag, seconds, text, textMap } from './fields.ts'

interface Ca {
  readonly key: sshpk.PrivateKey
  readonly publicLine: string
  readonly issuerId: string
}

/** The fields of a role that this server acts on; the rest is kept and shown. */
const defaults = {
  algorithm_signer: 'default',
  allow_bare_domains: false,
  allow_empty_principals: false,
  allow_host_certificates: false,
  allow_subdomains: false,
  allow_user_certificates: false,
  allow_user_key_ids: false,
  allowed_critical_options: '',
  allowed_domains: '',
  allowed_domains_template: false,
  allowed_extensions: '',
  allowed_user_key_lengths: {},
  allowed_users: '',
  allowed_users_template: false,
  default_critical_options: {} as Readonly<Record<string, string>>,
  default_extensions: {} as Readonly<Record<string, string>>,
  default_extensions_template: false,
  default_user: '',
  default_user_template: false,
  issuer_ref: 'default',
  key_id_format: '',
  key_type: 'ca',
  max_ttl: 0,
  not_before_duration: 30,
  ttl: 0,
}
type Role = Readonly<typeof defaults>

function roleFrom(body: Readonly<Record<string, unknown>>): Role {
  const role: Record<string, unknown> = { ...defaults }
  for (const [key, standard] of Object.entries(defaults)) {
    const value = body[key]
    if (value === undefined) continue
    if (key === 'ttl' || key === 'max_ttl' || key === 'not_before_duration') role[key] = seconds(value) ?? 0
    else if (typeof standard === 'boolean') role[key] = flag(value, standard)
    else if (typeof standard === 'object') role[key] = textMap(value) ?? {}
    else role[key] = Array.isArray(value) ? value.join(',') : text(value)
  }
  if (role.key_type !== 'ca') throw new VaultError(400, 'unknown key type')
  if (role.allow_user_certificates !== true && role.allow_host_certificates !== true) {
    throw new VaultError(400, "Either 'allow_user_certificates' or 'allow_host_certificates' must be set to 'true'")
  }
  return role as Role
}

/** The principals that the role allows out of those asked for. */
function principalsFor(role: Role, asked: string, isHost: boolean): readonly string[] {
  const wanted = commaList(asked === '' ? (isHost ? '' : role.default_user) : asked)
  const allowed = commaList(isHost ? role.allowed_domains : role.allowed_users)
  if (wanted.length === 0) {
    if (role.allow_empty_principals) return []
    throw new VaultError(400, 'empty valid principals not allowed by role')
  }
  const fits = (name: string): boolean =>
    allowed.some(
      (item) => item === '*' || item === name || (isHost && role.allow_subdomains && name.endsWith(`.${item}`)),
    ) ||
    (!isHost && name === role.default_user)
  const bad = wanted.find((name) => !fits(name))
  if (bad !== undefined) throw new VaultError(400, `${bad} is not a valid value for valid_principals`)
  return wanted
}

function optionsFor(
  asked: Readonly<Record<string, string>> | undefined,
  standard: Readonly<Record<string, string>>,
  allowed: string,
  label: string,
): Readonly<Record<string, string>> {
  if (asked === undefined || Object.keys(asked).length === 0) return standard
  const list = commaList(allowed)
  const bad = Object.keys(asked).filter((name) => !list.includes('*') && !list.includes(name))
  if (bad.length > 0) throw new VaultError(400, `${label} [${bad.join(' ')}] are not on allowed list`)
  return asked
}

function lifeOf(role: Role, asked: unknown): number {
  const max = role.max_ttl || systemMaxTtlSeconds
  const wanted = seconds(asked) ?? 0
  if (wanted > max) throw new VaultError(400, `ttl is larger than maximum allowed ${max}`)
  return wanted || Math.min(role.ttl || systemMaxTtlSeconds, max)
}

/** A string as SSH puts it on the wire (RFC 4251 section 5), which is how the values of options are held. */
function sshString(value: string): Buffer {
  if (value === '') return Buffer.alloc(0)
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function parsePublicKey(line: string): sshpk.Key {
  if (line === '') throw new VaultError(400, 'missing public_key')
  try {
    return sshpk.parseKey(line.trim(), 'ssh')
  } catch {
    throw new VaultError(400, 'failed to parse public_key as SSH key: ssh: no key found')
  }
}

interface Order {
  readonly key: sshpk.Key
  readonly principals: readonly string[]
  readonly isHost: boolean
  readonly keyId: string
  readonly fromMs: number
  readonly untilMs: number
  readonly critical: Readonly<Record<string, string>>
  readonly extensions: Readonly<Record<string, string>>
}

function certify(ca: Ca, order: Order): { readonly line: string; readonly serial: string } {
  const serial = randomBytes(8)
  const identity = (name: string): sshpk.Identity =>
    order.isHost ? sshpk.identityForHost(name) : sshpk.identityForUser(name)
  const pairs = (options: Readonly<Record<string, string>>, critical: boolean) =>
    Object.keys(options)
      .sort()
      .map((name) => ({ critical, name, data: sshString(options[name] ?? '') }))
  // `createCertificate` of the library signs before a key id or options can be set, so the parts are put together here.
  const certificate = new sshpk.Certificate({
    subjects: order.principals.map(identity),
    subjectKey: order.key,
    issuer: sshpk.identityForHost('writ-dev'),
    issuerKey: ca.key.toPublic(),
    signatures: {
      openssh: { keyId: order.keyId, exts: [...pairs(order.critical, true), ...pairs(order.extensions, false)] },
    },
    serial,
    validFrom: new Date(order.fromMs),
    validUntil: new Date(order.untilMs),
    purposes: [],
  } as unknown as ConstructorParameters<typeof sshpk.Certificate>[0])
  certificate.signWith(ca.key)
  return { line: `${certificate.toString('openssh')}\n`, serial: serial.readBigUInt64BE().toString(16) }
}

/** The SSH secrets engine: a certificate authority for OpenSSH user and host certificates. */
export function createSsh(deps: { clock: Clock }): Backend {
  const { clock } = deps
  const roles = new Map<string, Role>()
  let ca: Ca | undefined

  const theCa = (): Ca => {
    if (ca === undefined) throw new VaultError(400, 'no default issuer currently configured')
    return ca
  }
  const configure = (call: Call): Reply => {
    const given = text(call.body.private_key)
    if (given === '' && !flag(call.body.generate_signing_key, true)) throw new VaultError(400, 'missing public_key')
    let key: sshpk.PrivateKey
    try {
      key = given === '' ? sshpk.generatePrivateKey('ed25519') : sshpk.parsePrivateKey(given)
    } catch {
      throw new VaultError(400, 'could not parse private_key')
    }
    const blob = key.toPublic().toBuffer('rfc4253', {})
    const publicLine = `ssh-${key.type} ${blob.toString('base64')}\n`
    ca = { key, publicLine, issuerId: sha256Hex(blob).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5') }
    return shown(ca)
  }
  const shown = (of: Ca): Reply => ({ data: { issuer_id: of.issuerId, issuer_name: '', public_key: of.publicLine } })

  const sign = (call: Call): Reply => {
    const name = call.names.name ?? ''
    const role = roles.get(name)
    if (role === undefined) throw new VaultError(400, `Unknown role: ${name}`)
    const key = parsePublicKey(text(call.body.public_key))
    const type = text(call.body.cert_type, 'user')
    const isHost = type === 'host'
    if (isHost ? !role.allow_host_certificates : type !== 'user' || !role.allow_user_certificates) {
      throw new VaultError(400, `cert_type '${type}' is not allowed by role`)
    }
    const principals = principalsFor(role, text(call.body.valid_principals), isHost)
    const asked = text(call.body.key_id)
    if (asked !== '' && !role.allow_user_key_ids) throw new VaultError(400, 'setting key_id is not allowed by role')
    const hash = sha256Hex(key.toBuffer('rfc4253', {}))
    const standard = role.key_id_format === '' ? 'vault-{{token_display_name}}-{{public_key_hash}}' : role.key_id_format
    const keyId = standard
      .replaceAll('{{token_display_name}}', call.token?.displayName ?? '')
      .replaceAll('{{role_name}}', name)
      .replaceAll('{{public_key_hash}}', hash)
    const critical = optionsFor(
      textMap(call.body.critical_options),
      role.default_critical_options,
      role.allowed_critical_options || '*',
      'critical options not on allowed list:',
    )
    const extensions = optionsFor(
      textMap(call.body.extensions),
      role.default_extensions,
      role.allowed_extensions,
      'extensions',
    )
    const life = lifeOf(role, call.body.ttl)
    const nowMs = clock.now()
    const signer = theCa()
    const { line, serial } = certify(signer, {
      key,
      principals,
      isHost,
      keyId: asked === '' ? keyId : asked,
      fromMs: nowMs - role.not_before_duration * 1000,
      untilMs: nowMs + life * 1000,
      critical,
      extensions: isHost ? {} : extensions,
    })
    return { data: { issuer_id: signer.issuerId, serial_number: serial, signed_key: line } }
  }

  return {
    routes: [
      {
        pattern: 'config/ca',
        on: {
          update: configure,
          read: () => shown(theCa()),
          delete: () => {
            ca = undefined
            return undefined
          },
        },
      },
      {
        pattern: 'public_key',
        open: true,
        on: { read: () => ({ raw: { type: 'text/plain', body: theCa().publicLine } }) },
      },
      {
        pattern: 'roles/',
        on: {
          list: () => {
            const keys = [...roles.keys()].sort()
            if (keys.length === 0) throw new VaultError(404)
            return { data: { keys, key_info: Object.fromEntries(keys.map((key) => [key, { key_type: 'ca' }])) } }
          },
        },
      },
      {
        pattern: 'roles/:name',
        exists: (call) => roles.has(call.names.name ?? ''),
        on: {
          read: (call) => {
            const role = roles.get(call.names.name ?? '')
            if (role === undefined) throw new VaultError(404)
            return { data: role }
          },
          update: (call) => void roles.set(call.names.name ?? '', roleFrom(call.body)),
          delete: (call) => void roles.delete(call.names.name ?? ''),
        },
      },
      { pattern: 'sign/:name', on: { update: sign } },
    ],
  }
}
