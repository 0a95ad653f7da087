import type { IssuerPolicy } from '../policy/issuer.ts'
import { readBounded } from './bounded-file.ts'
import { type FetchText, keyUrl } from './fetch-text.ts'
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
      load: async () => importKeys(readDocument(await readBounded(keys.jwks_file, 'the key file'))),
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
