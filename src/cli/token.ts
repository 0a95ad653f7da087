import { open } from 'node:fs/promises'
import { messageOf } from '../base/errors.ts'
import type { Environment } from '../config/environment.ts'
import { CommandError, exit } from './command.ts'

/** Where platforms put a workload token, tried in this order when nothing names one. Documented in docs/cli.md. */
const platformFiles = {
  /** A Kubernetes `projected` volume with a `serviceAccountToken` source for the audience of the broker. */
  kubernetes: '/var/run/secrets/tokens/writ',
  /** A JWT-SVID that the SPIFFE helper keeps fresh. */
  spiffe: '/var/run/secrets/spiffe/jwt_svid.token',
} as const

/** The broker reads no longer token than this. */
const maxTokenBytes = 16 * 1024
const platformDeadlineMs = 10_000

/** Gives the workload token for one call. It is read anew each time, because platforms rotate it. */
export type TokenSource = () => Promise<string>

/**
 * Chooses where the token comes from: `--token-file`, `WRIT_TOKEN_FILE`, `WRIT_TOKEN`, GitHub Actions, Kubernetes, SPIFFE.
 * The first that is set wins, and a source that is set and unusable fails rather than falling through to another identity.
 * @throws CommandError (not authenticated) from the source; the message never holds any of the token.
 */
export function createTokenSource(from: {
  readonly file: string | undefined
  readonly environment: Environment
  /** Audience to ask GitHub Actions for. */
  readonly audience: string
  readonly files?: readonly string[]
}): TokenSource {
  const { environment, audience } = from
  const named = from.file ?? environment.tokenFile
  if (named !== undefined) return () => readTokenFile(named)
  const { token, githubActions } = environment
  if (token !== undefined) return async () => checked(token.reveal(), 'WRIT_TOKEN')
  if (githubActions !== undefined) return () => requestFromActions(githubActions, audience)
  return async () => {
    for (const path of from.files ?? Object.values(platformFiles)) {
      const text = await readTokenFile(path).catch((error: unknown) => {
        if (error instanceof CommandError && isAbsent(error.cause)) return undefined
        throw error
      })
      if (text !== undefined) return text
    }
    throw new CommandError(
      exit.unauthenticated,
      'there is no workload token to present',
      `use --token-file, WRIT_TOKEN_FILE or WRIT_TOKEN; in Kubernetes mount a projected token at ${platformFiles.kubernetes}; in GitHub Actions grant the job "id-token: write"`,
    )
  }
}

async function readTokenFile(path: string): Promise<string> {
  let text: string
  try {
    // A token file may be a pipe or a device as well, so its size is no guide: one byte too many tells.
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(maxTokenBytes + 3), 0, maxTokenBytes + 3)
      text = buffer.toString('utf8', 0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (cause) {
    const why = isAbsent(cause) ? 'there is no such file' : 'it cannot be read'
    throw new CommandError(exit.unauthenticated, `the token file ${path}: ${why}`, undefined, { cause })
  }
  return checked(text, `the token file ${path}`)
}

function checked(text: string, source: string): string {
  const token = text.trim()
  if (token === '') throw new CommandError(exit.unauthenticated, `${source} is empty`)
  if (token.length > maxTokenBytes) throw new CommandError(exit.unauthenticated, `${source} is larger than 16 KiB`)
  // RFC 6750: what may stand in a header. Anything else is not a token, and must not reach the HTTP library.
  if (!/^[\w.~+/-]+=*$/.test(token))
    throw new CommandError(exit.unauthenticated, `${source} does not hold a bearer token`)
  return token
}

// https://docs.github.com/actions/reference/security/oidc: the job asks the runner for a token of the audience it names.
async function requestFromActions(
  actions: NonNullable<Environment['githubActions']>,
  audience: string,
): Promise<string> {
  const failed = (why: string, cause?: unknown): CommandError =>
    new CommandError(
      exit.unauthenticated,
      `GitHub Actions gave no identity token: ${why}`,
      'check that the job has "permissions: id-token: write"',
      { cause },
    )
  if (!URL.canParse(actions.url)) throw failed('ACTIONS_ID_TOKEN_REQUEST_URL is not a URL')
  const url = new URL(actions.url)
  url.searchParams.set('audience', audience)
  let response: Response
  try {
    response = await fetch(url, {
      headers: { authorization: `Bearer ${actions.token.reveal()}`, accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(platformDeadlineMs),
    })
  } catch (cause) {
    throw failed(messageOf(cause), cause)
  }
  if (!response.ok) throw failed(`it answered ${response.status}`)
  const answer: unknown = await response.json().catch(() => undefined)
  const value = typeof answer === 'object' && answer !== null && 'value' in answer ? answer.value : undefined
  if (typeof value !== 'string') throw failed('its answer holds none')
  return checked(value, 'the answer of GitHub Actions')
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
