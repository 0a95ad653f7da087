import { type Io, UsageError } from './command.ts'
import { type BrokerClient, createBrokerClient } from './http-client.ts'
import { createTokenSource } from './token/source.ts'

/** Options of every command that talks to a broker. */
export const clientOptions = {
  url: { type: 'string' },
  'token-file': { type: 'string' },
  'token-from': { type: 'string' },
  audience: { type: 'string' },
} as const

/** The lines of a help text that explain `clientOptions`. */
export const clientHelp = `  --url URL           the broker (default: WRIT_URL)
  --token-file FILE   file with the workload token, read anew for each call (default: WRIT_TOKEN_FILE, WRIT_TOKEN,
                      WRIT_TOKEN_FROM, then what the platform offers; writ doctor says which)
  --token-from NAME   the platform to get it from, without looking which one this is: github-actions, gitlab,
                      terraform, buildkite, circleci, kubernetes, spiffe, aws, azure, google
  --audience NAME     audience of the token, where the platform lets it be chosen (default: the broker's URL)`

/** The broker that the options or `WRIT_URL` name. @throws UsageError when none is named or it is no URL. */
export function connect(
  values: {
    url?: string | undefined
    'token-file'?: string | undefined
    'token-from'?: string | undefined
    audience?: string | undefined
  },
  io: Io,
): BrokerClient {
  const url = brokerUrl(values.url, io)
  const token = createTokenSource({
    file: values['token-file'],
    from: values['token-from'],
    environment: io.environment,
    audience: values.audience ?? url,
  })
  return createBrokerClient({ url, token })
}

/** The address that `--url` or `WRIT_URL` names, without a slash at its end. @throws UsageError when none is named or it is no URL */
export function brokerUrl(given: string | undefined, io: Io): string {
  const url = (given ?? io.environment.brokerUrl)?.replace(/\/+$/, '')
  if (url === undefined) throw new UsageError('which broker? give --url or set WRIT_URL')
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError('the address of the broker is not an http:// or https:// URL')
  }
  return url
}
