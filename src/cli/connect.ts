import type { KeyObject } from 'node:crypto'
import { type Io, UsageError } from './command.ts'
import { type BrokerClient, createBrokerClient } from './http-client.ts'
import { canDecrypt, createProver, freshKey, readKey } from './prover.ts'
import { createTokenSource } from './token/source.ts'

/** Options of every command that talks to a broker. */
export const clientOptions = {
  url: { type: 'string' },
  'token-file': { type: 'string' },
  'token-from': { type: 'string' },
  audience: { type: 'string' },
  'dpop-key': { type: 'string' },
  'public-url': { type: 'string' },
} as const

/** The lines of a help text that explain `clientOptions`. */
export const clientHelp = `  --url URL           the broker (default: WRIT_URL)
  --token-file FILE   file with the workload token, read anew for each call (default: WRIT_TOKEN_FILE, WRIT_TOKEN,
                      WRIT_TOKEN_FROM, then what the platform offers; writ doctor says which)
  --token-from NAME   the platform to get it from, without looking which one this is: github-actions, gitlab,
                      terraform, buildkite, circleci, kubernetes, spiffe, aws, azure, google
  --audience NAME     audience of the token, where the platform lets it be chosen (default: the broker's URL)
  --dpop-key FILE     prove with each call that this private key is held (RFC 9449): a JWK or PEM of an EC, RSA or Ed25519 key
  --public-url URL    what a proof is made for, where the broker's own \`url\` is not the address it is reached at`

interface ClientValues {
  readonly url?: string | undefined
  readonly 'token-file'?: string | undefined
  readonly 'token-from'?: string | undefined
  readonly audience?: string | undefined
  readonly 'dpop-key'?: string | undefined
  readonly 'public-url'?: string | undefined
  readonly delivery?: string | undefined
}

/**
 * The broker that the options or `WRIT_URL` name. Without a key of the user's own, one that lives as long as this process is proved where
 * the secret is to be encrypted to it. @throws UsageError when none is named or it is no URL, and for a key that does not serve
 */
export function connect(values: ClientValues, io: Io): BrokerClient {
  const url = brokerUrl(values.url, io)
  const token = createTokenSource({
    file: values['token-file'],
    from: values['token-from'],
    environment: io.environment,
    audience: values.audience ?? url,
  })
  const key = proofKey(values)
  const publicUrl = values['public-url'] === undefined ? undefined : httpUrl('--public-url', values['public-url'])
  return createBrokerClient({ url, token, publicUrl, prover: key && createProver(key, io.clock) })
}

function proofKey({ 'dpop-key': file, delivery }: ClientValues): KeyObject | undefined {
  if (file === undefined) return delivery === 'jwe' ? freshKey() : undefined
  const key = readKey(file)
  if (delivery !== 'jwe' || canDecrypt(key)) return key
  throw new UsageError('--delivery jwe needs an EC or RSA key; what --dpop-key names can only sign')
}

/** The address that `--url` or `WRIT_URL` names, without a slash at its end. @throws UsageError when none is named or it is no URL */
export function brokerUrl(given: string | undefined, io: Io): string {
  const url = given ?? io.environment.brokerUrl
  if (url === undefined) throw new UsageError('which broker? give --url or set WRIT_URL')
  return httpUrl('the address of the broker', url)
}

function httpUrl(what: string, text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text.replace(/\/+$/, '')
  throw new UsageError(`${what} is not an http:// or https:// URL`)
}
