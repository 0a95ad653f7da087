import { createCipheriv, randomBytes } from 'node:crypto'
import { compactDecrypt } from 'jose'
import { z } from 'zod'
import { sha256Hex } from '../base/digest.ts'
import { BrokerFault } from '../base/errors.ts'
import { publicRandom } from '../base/random.ts'
import type { LeaseHandle } from '../engines/engine.ts'
import { canonicalJson } from './canonical.ts'
import { readPrivateFile } from './keys.ts'

/** Seals lease handles so that the ledger can hold them: whoever has the ledger but not the key can do nothing with them. */
export interface Sealer {
  /** The hash joins entries to what Vault lists; `sealed` is a compact JWE (`dir`, A256GCM). */
  seal(handle: LeaseHandle): { readonly hash: string; readonly sealed: string }
  /** @throws BrokerFault `internal` when it was sealed with another key or altered. */
  open(sealed: string): Promise<LeaseHandle>
  hashOf(handle: LeaseHandle): string
  /** The same for any other text that the broker alone must read again. */
  sealText(text: string): string
  /** @throws BrokerFault `internal` when it was sealed with another key or altered. */
  openText(sealed: string): Promise<string>
}

/** Seals texts of any kind under one key: compact JWEs (`dir`, A256GCM). */
export interface Box {
  seal(text: string): string
  /** @throws Error when it was sealed with another key, was altered, or is no JWE. */
  open(sealed: string): Promise<string>
}

const keyBytes = 32
// RFC 7518 section 5.3.
const nonceBytes = 12

const handleSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('lease'), id: z.string() }),
  z.strictObject({ type: z.literal('accessor'), id: z.string() }),
  z.strictObject({ type: z.literal('certificate'), mount: z.string(), serial: z.string() }),
])

/**
 * A box with a 32-byte key. The header of each JWE names the key (`kid`, from its SHA-256), so that a later key can stand
 * beside it; what was sealed before stays readable as long as its key is among `older`.
 * @see RFC 7516
 */
export function createBox(key: Uint8Array, older: readonly Uint8Array[] = []): Box {
  const keys = new Map([...older, key].map((each) => [keyId(each), each]))
  const kid = keyId(key)
  const header = base64url(JSON.stringify({ alg: 'dir', enc: 'A256GCM', kid }))
  return {
    // Not by the library: that goes through the thread pool, for ten times the cost. `open` is by the library, so that a seal
    // which is no JWE to others is none to us.
    seal(text) {
      const nonce = publicRandom(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(header))
      const parts = [nonce, Buffer.concat([cipher.update(text), cipher.final()]), cipher.getAuthTag()]
      return [header, '', ...parts.map(base64url)].join('.')
    },
    async open(sealed) {
      const { plaintext } = await compactDecrypt(sealed, ({ kid: named }) => keys.get(named ?? '') ?? key, {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
      })
      return new TextDecoder().decode(plaintext)
    },
  }
}

/** A sealer with a 32-byte key, and with those of before; see `createBox`. */
export function createSealer(key: Uint8Array, older: readonly Uint8Array[] = []): Sealer {
  const box = createBox(key, older)
  return {
    hashOf: (handle) => sha256Hex(canonicalJson(handle)),
    seal(handle) {
      const text = canonicalJson(handle)
      return { hash: sha256Hex(text), sealed: box.seal(text) }
    },
    sealText: box.seal,
    async openText(sealed) {
      try {
        return await box.open(sealed)
      } catch {
        // The cause may quote the text, so it is not kept.
        throw new BrokerFault('internal', 'a sealed text cannot be opened: it was altered or its key is gone')
      }
    },
    async open(sealed) {
      try {
        return handleSchema.parse(JSON.parse(await box.open(sealed)))
      } catch {
        // The cause may quote the handle, so it is not kept.
        throw new BrokerFault('internal', 'a sealed lease handle cannot be opened: it was altered or its key is gone')
      }
    },
  }
}

/**
 * The sealing key (64 hexadecimal digits): `given` where the caller has it, else what is in `file`, made first when there is none.
 * @throws BrokerFault `ledger_unavailable` when others can read the file or it holds no key.
 */
export async function openSealKey(file: string, given?: string): Promise<Uint8Array> {
  const text = given ?? (await readPrivateFile(file, () => `${randomBytes(keyBytes).toString('hex')}\n`))
  if (!/^[0-9a-f]{64}\n?$/.test(text)) {
    throw new BrokerFault(
      'ledger_unavailable',
      `${given === undefined ? file : 'the environment'} holds no sealing key`,
    )
  }
  return Buffer.from(text.trim(), 'hex')
}

const base64url = (data: string | Uint8Array): string => Buffer.from(data).toString('base64url')
const keyId = (key: Uint8Array): string => sha256Hex(key).slice(0, 16)
