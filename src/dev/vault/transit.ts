import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { type Backend, type Call, listed, type Reply, VaultError } from './backend.ts'
import { text } from './fields.ts'

interface Version {
  readonly privateKey: KeyObject
  /** As Vault shows it: PEM, or for Ed25519 the 32 bytes in base64. */
  readonly publicText: string
  readonly createdMs: number
}

interface Key {
  readonly type: string
  /** Version 1 first. */
  readonly versions: Version[]
}

/** What Vault calls the curve or size of each type that signs; encryption is not served. */
const typeNames: Readonly<Record<string, string>> = {
  'ecdsa-p256': 'P-256',
  'ecdsa-p384': 'P-384',
  'ecdsa-p521': 'P-521',
  ed25519: 'ed25519',
  'rsa-2048': 'rsa-2048',
  'rsa-3072': 'rsa-3072',
  'rsa-4096': 'rsa-4096',
}
const hashes: ReadonlySet<string> = new Set(['sha2-256', 'sha2-384', 'sha2-512'])

function newVersion(type: string, createdMs: number): Version {
  const { privateKey, publicKey } = type.startsWith('rsa-')
    ? generateKeyPairSync('rsa', { modulusLength: Number(type.slice('rsa-'.length)) })
    : type === 'ed25519'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('ec', { namedCurve: typeNames[type] ?? '' })
  const publicText =
    type === 'ed25519'
      ? Buffer.from(String(publicKey.export({ format: 'jwk' }).x), 'base64url').toString('base64')
      : publicKey.export({ type: 'spki', format: 'pem' }).toString()
  return { privateKey, publicText, createdMs }
}

function shown(name: string, { type, versions }: Key): Reply {
  const keys = versions.map(({ publicText, createdMs }, at) => [
    String(at + 1),
    {
      certificate_chain: '',
      creation_time: new Date(createdMs).toISOString(),
      name: typeNames[type],
      public_key: publicText,
    },
  ])
  return {
    data: {
      allow_plaintext_backup: false,
      auto_rotate_period: 0,
      deletion_allowed: false,
      derived: false,
      exportable: false,
      imported_key: false,
      keys: Object.fromEntries(keys),
      latest_version: versions.length,
      min_available_version: 0,
      min_decryption_version: 1,
      min_encryption_version: 0,
      name,
      soft_deleted: false,
      supports_decryption: type.startsWith('rsa-'),
      supports_derivation: type === 'ed25519',
      supports_encryption: type.startsWith('rsa-'),
      supports_signing: true,
      type,
    },
  }
}

function signature(type: string, version: Version, body: Call['body']): string {
  const hash = text(body.hash_algorithm, 'sha2-256')
  if (!hashes.has(hash)) throw new VaultError(400, `invalid hash algorithm ${JSON.stringify(hash)}`)
  const marshaling = text(body.marshaling_algorithm, 'asn1')
  if (marshaling !== 'asn1' && marshaling !== 'jws')
    throw new VaultError(400, `invalid marshaling type ${JSON.stringify(marshaling)}`)
  const input = Buffer.from(text(body.input), 'base64')
  if (type === 'ed25519') return sign(null, input, version.privateKey).toString('base64')
  const digest = hash.replace('sha2-', 'sha')
  if (type.startsWith('rsa-')) {
    // Without `signature_algorithm` Vault pads as PSS, which this server does not serve.
    if (body.signature_algorithm !== 'pkcs1v15') throw new VaultError(400, 'the development server signs pkcs1v15 only')
    return sign(digest, input, version.privateKey).toString('base64')
  }
  return marshaling === 'jws'
    ? sign(digest, input, { key: version.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')
    : sign(digest, input, version.privateKey).toString('base64')
}

/** Signing with keys that stay here: types that sign, versions, rotation. Encryption is not served. */
export function createTransit({ clock }: { clock: Clock }): Backend {
  const keys = new Map<string, Key>()
  const find = (call: Call): Key => {
    const key = keys.get(call.names.name ?? '')
    if (key === undefined) throw new VaultError(404)
    return key
  }
  return {
    routes: [
      {
        pattern: 'keys/:name',
        exists: (call) => keys.has(call.names.name ?? ''),
        on: {
          read: (call) => shown(call.names.name ?? '', find(call)),
          update: (call) => {
            const name = call.names.name ?? ''
            const type = text(call.body.type, 'aes256-gcm96')
            if (typeNames[type] === undefined) throw new VaultError(400, `unknown key type ${type}`)
            const key = keys.get(name) ?? { type, versions: [newVersion(type, clock.now())] }
            keys.set(name, key)
            return shown(name, key)
          },
        },
      },
      {
        pattern: 'keys/:name/rotate',
        on: {
          update: (call) => {
            const key = keys.get(call.names.name ?? '')
            if (key === undefined) throw new VaultError(400, 'key not found')
            key.versions.push(newVersion(key.type, clock.now()))
            return shown(call.names.name ?? '', key)
          },
        },
      },
      {
        pattern: 'sign/:name',
        on: {
          update: (call) => {
            const key = keys.get(call.names.name ?? '')
            if (key === undefined) throw new VaultError(400, 'signing key not found')
            const number = Number(call.body.key_version ?? 0) || key.versions.length
            const version = key.versions[number - 1]
            if (version === undefined)
              throw listed(500, 'requested version for signing is higher than the latest key version')
            const made = signature(key.type, version, call.body)
            return { data: { key_version: number, signature: `vault:v${number}:${made}` } }
          },
        },
      },
    ],
  }
}
