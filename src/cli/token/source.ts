import { nearest } from '../../base/nearest.ts'
import type { Environment } from '../../config/environment.ts'
import { UsageError } from '../command.ts'
import { checked, noToken, readTokenFile } from './bearer.ts'
import type { Places, Platform, Setting } from './platform.ts'
import { detect, platforms } from './platforms.ts'

const standardPlaces: Places = {
  kubernetes: '/var/run/secrets/tokens/writ',
  spiffe: '/var/run/secrets/spiffe/jwt_svid.token',
  dmi: '/sys/class/dmi/id',
}

/** Gives the workload token for one call. It is read anew each time, because platforms rotate it. */
export type TokenSource = () => Promise<string>

/** What says where the token comes from. */
export interface TokenOptions {
  /** `--token-file`. */
  readonly file: string | undefined
  /** `--token-from`. */
  readonly from?: string | undefined
  readonly environment: Environment
  /** Audience to ask the platform for. */
  readonly audience: string
  readonly places?: Places
}

/** Where the token would come from, in words, and what says so. */
export interface ChosenSource {
  readonly name: string
  readonly because: string
  readonly token: TokenSource
}

/**
 * Chooses where the token comes from: `--token-file` or `--token-from`, `WRIT_TOKEN_FILE`, `WRIT_TOKEN`, `WRIT_TOKEN_FROM`, then
 * the platform this is. The first that is set wins, and a source that is set and unusable fails rather than falling through to
 * another identity. A platform that was found once is kept to.
 * @throws UsageError when no such platform is known. The source throws CommandError (not authenticated); its message never
 * holds any of the token.
 */
export function createTokenSource(options: TokenOptions): TokenSource {
  const named = namedSource(options)
  if (named !== undefined) return named.token
  let found: ChosenSource | undefined
  return async () => {
    found ??= await detectedSource(options)
    if (found === undefined) throw nothingFound(options.environment)
    return found.token()
  }
}

/** What {@link createTokenSource} would choose now. Asks no network and reads no token. */
export async function chooseSource(options: TokenOptions): Promise<ChosenSource | undefined> {
  return namedSource(options) ?? detectedSource(options)
}

function namedSource({ file, from, ...options }: TokenOptions): ChosenSource | undefined {
  const { tokenFile, token, tokenFrom } = options.environment
  if (file !== undefined && from !== undefined)
    throw new UsageError('--token-file and --token-from contradict each other')
  if (file !== undefined) return fileSource(file, '--token-file is given')
  if (from !== undefined) return platformSource(named(from), '--token-from is given', options)
  if (tokenFile !== undefined) return fileSource(tokenFile, 'WRIT_TOKEN_FILE is set')
  if (token !== undefined) {
    const read = async (): Promise<string> => checked(token.reveal(), 'WRIT_TOKEN')
    return { name: 'a variable', because: 'WRIT_TOKEN is set', token: read }
  }
  return tokenFrom === undefined ? undefined : platformSource(named(tokenFrom), 'WRIT_TOKEN_FROM is set', options)
}

async function detectedSource(options: Omit<TokenOptions, 'file' | 'from'>): Promise<ChosenSource | undefined> {
  const found = await detect(settingOf(options))
  return found === undefined ? undefined : platformSource(found.platform, found.because, options)
}

const fileSource = (path: string, because: string): ChosenSource => ({
  name: `the file ${path}`,
  because,
  token: () => readTokenFile(path),
})

const platformSource = (
  platform: Platform,
  because: string,
  options: Omit<TokenOptions, 'file' | 'from'>,
): ChosenSource => ({ name: platform.name, because, token: () => platform.token(settingOf(options)) })

const settingOf = ({
  environment,
  audience,
  places = standardPlaces,
}: Omit<TokenOptions, 'file' | 'from'>): Setting => ({
  environment,
  audience,
  places,
})

function named(name: string): Platform {
  const found = platforms.find((platform) => platform.name === name)
  if (found !== undefined) return found
  const names = platforms.map((platform) => platform.name)
  const guess = nearest(name, names)
  const hint = guess === undefined ? `one of ${names.join(', ')}` : `did you mean ${guess}?`
  throw new UsageError(`--token-from and WRIT_TOKEN_FROM name a platform: ${hint}`)
}

function nothingFound({ platform: { spiffeSocket, inPod } }: Environment): Error {
  if (spiffeSocket !== undefined) {
    return noToken(
      'there is no workload token to present: SPIFFE_ENDPOINT_SOCKET is set, but the Workload API speaks gRPC, which writ does not',
      `let spiffe-helper keep a JWT-SVID at ${standardPlaces.spiffe}`,
    )
  }
  const here = inPod
    ? `mount a projected token at ${standardPlaces.kubernetes}, or name a cloud with --token-from if the token of this pod is to come from it`
    : 'use --token-file, WRIT_TOKEN_FILE or WRIT_TOKEN, or --token-from PLATFORM; in GitHub Actions grant the job "id-token: write"'
  return noToken('there is no workload token to present', here)
}
