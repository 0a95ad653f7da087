import { setTimeout as pause } from 'node:timers/promises'
import { problemSchema } from '../contract/problem.ts'
import { CommandError, exit } from './command.ts'
import { ProblemError } from './problem-error.ts'
import type { Prover } from './prover.ts'
import type { TokenSource } from './token/source.ts'

/** A broker, and who calls it. */
export interface Target {
  readonly url: string
  readonly token: TokenSource
  /** Where a key is proved with each call. */
  readonly prover?: Prover | undefined
  /** The name by which the broker knows itself, where it is another than `url`: what a proof is made for. */
  readonly publicUrl?: string | undefined
}

/** One call of a broker. */
export interface Call {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
  readonly headers?: Readonly<Record<string, string>>
  readonly deadlineMs?: number
  /** Further tries after the broker could not be reached or said 503. Only for calls that may safely be repeated. */
  readonly retries?: number
  /** Tries again only after the answer was lost, not after a 503. */
  readonly lostOnly?: boolean
}

const maxAnswerBytes = 8 * 1024 * 1024
const defaultDeadlineMs = 30_000
const pauseBetweenTriesMs = 500

/** An answer that was no refusal. */
export interface Answer {
  readonly status: number
  readonly text: string
  /** The text parsed, `undefined` when it is not JSON. */
  readonly json: unknown
}

/** Calls the broker. @throws ProblemError when it says no, CommandError otherwise */
export async function send(to: Target, call: Call): Promise<Answer> {
  for (let triesLeft = call.retries ?? 0; ; triesLeft--) {
    try {
      return await sendOnce(to, call)
    } catch (error) {
      const passing =
        error instanceof Unreachable ||
        (error instanceof ProblemError && error.problem.status === 503 && call.lostOnly !== true)
      if (!passing || triesLeft <= 0) throw error
      await pause(pauseBetweenTriesMs)
    }
  }
}

/** Nobody answered, or not to the end. */
export class Unreachable extends CommandError {
  constructor(url: string, cause: unknown) {
    super(exit.unavailable, `${url} ${whyUnreachable(cause)}`, 'check WRIT_URL and the network', { cause })
  }
}

async function sendOnce(to: Target, call: Call): Promise<Answer> {
  const response = await open(to, call, AbortSignal.timeout(call.deadlineMs ?? defaultDeadlineMs))
  const text = await readBounded(response, to.url)
  const json = parseJson(text)
  if (response.ok) return { status: response.status, text, json }
  throw refusal(response, json, to.url)
}

/** Opens a stream: the body is still to come. @throws ProblemError when the broker says no, CommandError otherwise */
export async function openStream(to: Target, call: Call, stop: AbortSignal): Promise<Response> {
  const response = await open(to, call, stop)
  if (response.ok) return response
  throw refusal(response, parseJson(await readBounded(response, to.url)), to.url)
}

async function open(to: Target, { method, path, body, headers }: Call, signal: AbortSignal): Promise<Response> {
  const token = await to.token()
  const url = `${to.publicUrl ?? to.url}${path}`
  const proof = await to.prover?.proofFor({ method, url, token })
  try {
    return await fetch(`${to.url}${path}`, {
      method,
      headers: {
        ...(proof === undefined
          ? { authorization: `Bearer ${token}` }
          : { authorization: `DPoP ${token}`, dpop: proof }),
        accept: 'application/json, application/problem+json, text/*',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      // A redirect would carry the token to a place that nobody named.
      redirect: 'error',
      signal,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  } catch (error) {
    throw new Unreachable(to.url, error)
  }
}

function refusal(response: Response, json: unknown, url: string): Error {
  const problem = problemSchema.safeParse(json)
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN)
  if (problem.success) return new ProblemError(problem.data, Number.isFinite(retryAfter) ? retryAfter : undefined)
  // Not the broker's words: a proxy in between, another server, or a newer broker.
  const { status } = response
  const exitStatus =
    status === 401
      ? exit.unauthenticated
      : status === 403
        ? exit.refused
        : status >= 502 || status === 429
          ? exit.unavailable
          : exit.fault
  return new CommandError(
    exitStatus,
    `${url} answered ${status}, and not in the words of a broker`,
    'check that WRIT_URL is the address of the broker itself',
  )
}

async function readBounded(response: Response, url: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of response.body ?? []) {
      size += chunk.byteLength
      if (size > maxAnswerBytes) throw new Error('answered too much')
      chunks.push(chunk)
    }
  } catch (error) {
    throw new Unreachable(url, error)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** JSON from elsewhere; `undefined` when it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function whyUnreachable(error: unknown): string {
  if (!(error instanceof Error)) return 'cannot be reached'
  if (error.name === 'TimeoutError') return 'did not answer in time'
  // fetch hides the socket's error one level down, and that of several addresses another.
  const cause = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  const code: unknown = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined
  return typeof code === 'string' ? `cannot be reached (${code})` : 'cannot be reached'
}
