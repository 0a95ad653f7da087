import { createPublicKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import { VaultFault } from './faults.ts'
import { vaultPath } from './target.ts'
import type { VaultSession } from './vault-session.ts'

/** How keys of one type sign (RFC 7518 section 3.1, RFC 8037): the name of the algorithm, and of its hash to Vault. */
interface Signing {
  readonly alg: string
  readonly hash: 'sha2-256' | 'sha2-384' | 'sha2-512'
}

const signings: Readonly<Record<string, Signing>> = {
  'ecdsa-p256': { alg: 'ES256', hash: 'sha2-256' },
  'ecdsa-p384': { alg: 'ES384', hash: 'sha2-384' },
  'ecdsa-p521': { alg: 'ES512', hash: 'sha2-512' },
  ed25519: { alg: 'EdDSA', hash: 'sha2-512' },
  'rsa-2048': { alg: 'RS256', hash: 'sha2-256' },
  'rsa-3072': { alg: 'RS256', hash: 'sha2-256' },
  'rsa-4096': { alg: 'RS256', hash: 'sha2-256' },
}

/** The public half of one version of a key. */
export interface PublicVersion {
  /** Names mount, key and version, so that the keys of all mounts fit into one set. */
  readonly kid: string
  readonly version: number
  readonly key: KeyObject
}

/** A transit key as the broker may know it: what signs stays in Vault. */
export interface TransitKey extends Signing {
  /**
   * The version to sign with: the newest, unless it is so new that a verifier who asked a moment ago, perhaps another broker, may not
   * have been told of it.
   */
  readonly signing: PublicVersion
  /** Newest first; signatures of any of them are good, by what Vault says of the key. */
  readonly versions: readonly [PublicVersion, ...PublicVersion[]]
}

export interface TransitKeys {
  /**
   * The key, at most `maxAgeMs` old; asked for once by however many wait for it.
   * @throws VaultFault; BrokerFault `engine_refused` when the key cannot sign or is of a type that no JWT algorithm is for
   */
  get(mount: string, name: string, maxAgeMs: number): Promise<TransitKey>
  /** Forgets the key, because Vault no longer signs with what is known of it. */
  forget(mount: string, name: string): void
}

const answer = z.object({
  type: z.string(),
  supports_signing: z.boolean(),
  // Every version has its own key, and nobody rotates ten times a day for years.
  keys: z.record(z.string().regex(/^[1-9][0-9]{0,8}$/), z.object({ public_key: z.string().min(1).max(8192) })),
  latest_version: z.int().min(1),
  min_decryption_version: z.int().min(0),
})
/** Verifiers read all of them each time. */
const mostVersions = 20
/** For how long a version must have been known before it signs; longer than a set of public keys is served without asking Vault. */
const settledAfterMs = 10_000

export function createTransitKeys(session: Pick<VaultSession, 'read'>, clock: Clock): TransitKeys {
  const known = new Map<string, { readonly atMs: number; readonly key: Promise<Omit<TransitKey, 'signing'>> }>()
  /** By mount and name, when each version was first seen; those of the first look were there before. */
  const seen = new Map<string, Map<number, number>>()

  function signingOf(id: string, versions: TransitKey['versions']): PublicVersion {
    const first = seen.get(id)
    const times = first ?? new Map<number, number>()
    for (const { version } of versions)
      if (!times.has(version)) times.set(version, first === undefined ? Number.NEGATIVE_INFINITY : clock.now())
    seen.set(id, times)
    const settled = ({ version }: PublicVersion) => clock.now() - (times.get(version) ?? 0) >= settledAfterMs
    return versions.find(settled) ?? versions[0]
  }

  async function load(mount: string, name: string): Promise<Omit<TransitKey, 'signing'>> {
    const path = vaultPath(mount, 'keys', name)
    const parsed = answer.safeParse((await session.read(path)).data)
    if (!parsed.success) throw new VaultFault('unreadable', `GET ${path}: the answer holds no key with public halves`)
    return keyOf(path, `${mount}/${name}`, parsed.data)
  }

  return {
    async get(mount, name, maxAgeMs) {
      const id = vaultPath(mount, name)
      let entry = known.get(id)
      if (entry === undefined || clock.now() - entry.atMs >= maxAgeMs) {
        entry = { atMs: clock.now(), key: load(mount, name) }
        known.set(id, entry)
      }
      try {
        const key = await entry.key
        return { ...key, signing: signingOf(id, key.versions) }
      } catch (thrown) {
        if (known.get(id) === entry) known.delete(id)
        throw thrown
      }
    },
    forget(mount, name) {
      known.delete(vaultPath(mount, name))
      seen.delete(vaultPath(mount, name))
    },
  }
}

function keyOf(
  path: string,
  name: string,
  { type, keys, ...said }: z.infer<typeof answer>,
): Omit<TransitKey, 'signing'> {
  const signing = Object.hasOwn(signings, type) ? signings[type] : undefined
  if (signing === undefined || !said.supports_signing) {
    const types = Object.keys(signings).join(', ')
    throw new BrokerFault('engine_refused', `GET ${path}: a key of type ${type} signs no token; make one of ${types}`)
  }
  const [latest, ...older] = Object.entries(keys)
    .map(([number, { public_key: text }]) => ({ version: Number(number), text }))
    .filter(({ version }) => version >= said.min_decryption_version)
    .sort((a, b) => b.version - a.version)
    .slice(0, mostVersions)
    .map(({ version, text }) => ({ version, kid: `${name}:${version}`, key: publicKey(path, type, text) }))
  if (latest?.version !== said.latest_version)
    throw new VaultFault('unreadable', `GET ${path}: the answer lacks the newest version of the key`)
  return { ...signing, versions: [latest, ...older] }
}

function publicKey(path: string, type: string, text: string): KeyObject {
  try {
    if (type !== 'ed25519') return createPublicKey(text)
    const x = Buffer.from(text, 'base64').toString('base64url')
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  } catch {
    throw new VaultFault('unreadable', `GET ${path}: a public key that cannot be read`)
  }
}
