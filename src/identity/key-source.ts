import { type FileHandle, open } from 'node:fs/promises'
import type { IssuerPolicy } from '../policy/issuer.ts'
import { type FetchText, KeyFetchError, keyUrl, maxDocumentBytes } from './fetch-text.ts'
import { type Algorithm, importKeySet, KeyDocumentError, type KeySet, readDocument } from './jwks.ts'
import { createBundleImport } from './trust-bundle.ts'

/** Where an issuer's keys come from. */
export interface KeySource {
  /** Gets and imports the keys afresh. @throws KeyFetchError, KeyDocumentError */
  load(): Promise<KeySet>
  /** False for keys written into the policy: loading them again changes nothing. */
  readonly changes: boolean
}

export interface KeySourceOptions {
  /** The `iss` of the tokens; a discovery document must name exactly this issuer. */
  readonly issuerUrl: string
  readonly keys: IssuerPolicy['keys']
  readonly algorithms: readonly Algorithm[]
  /** The keys are a SPIFFE trust bundle rather than a plain JWK Set. */
  readonly bundle: boolean
  readonly fetchText: FetchText
  readonly allowLoopbackHttp: boolean
}

/** The source that the `keys` of an Issuer document describe. */
export function createKeySource(options: KeySourceOptions): KeySource {
  const { issuerUrl, keys, algorithms, bundle, fetchText, allowLoopbackHttp } = options
  const importKeys = bundle ? createBundleImport(algorithms) : (set: unknown) => importKeySet(set, algorithms)
  const fetchKeySet = async (url: string): Promise<KeySet> =>
    importKeys(readDocument(await fetchText(keyUrl(url, allowLoopbackHttp))))

  if ('jwks' in keys) return { changes: false, load: () => importKeys(keys.jwks) }
  if ('jwks_file' in keys) {
    return {
      changes: true,
      load: async () => importKeys(readDocument(await readFile(keys.jwks_file))),
    }
  }
  if ('jwks_url' in keys) return { changes: true, load: () => fetchKeySet(keys.jwks_url) }
  return {
    changes: true,
    async load() {
      // OpenID Connect Discovery 1.0 section 4: the issuer without a final slash, and the well-known path.
      const url = keyUrl(`${issuerUrl.replace(/\/$/, '')}/.well-known/openid-configuration`, allowLoopbackHttp)
      const { issuer, jwks_uri: jwksUri } = readDocument(await fetchText(url))
      // Section 4.3: anything else would let one issuer answer for another.
      if (issuer !== issuerUrl) throw new KeyDocumentError('the discovery document names another issuer')
      if (typeof jwksUri !== 'string') throw new KeyDocumentError('the discovery document has no jwks_uri')
      return fetchKeySet(jwksUri)
    },
  }
}

// Reads at most the bound, whatever the file grows to meanwhile; a device or pipe is not a key file.
async function readFile(path: string): Promise<string> {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    if (!(await file.stat()).isFile()) throw new KeyFetchError('the key file is not a regular file')
    const buffer = Buffer.alloc(maxDocumentBytes + 1)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
    if (bytesRead > maxDocumentBytes) throw new KeyFetchError(`the key file is larger than ${maxDocumentBytes} bytes`)
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(buffer.subarray(0, bytesRead))
  } catch (error) {
    if (error instanceof KeyFetchError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code'
    throw new KeyFetchError(`the key file cannot be read (${code})`)
  } finally {
    await file?.close()
  }
}
