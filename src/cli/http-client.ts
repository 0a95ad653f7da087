import { setTimeout as pause } from 'node:timers/promises'
import type { z } from 'zod'
import { type ApprovalView, approvalSchema } from '../contract/approval.ts'
import {
  type CredentialRequest,
  type IssuedCredential,
  issuedCredentialSchema,
  type PendingApproval,
  pendingApprovalSchema,
} from '../contract/credential.ts'
import {
  type EndedGrant,
  endedGrantSchema,
  type GrantList,
  type GrantView,
  grantListSchema,
  grantSchema,
  type Renewed,
  type RevocationRequest,
  type RevocationResult,
  renewedSchema,
  revocationResultSchema,
} from '../contract/grant.ts'
import { type EntryList, entryListSchema, type StoredEntryView, storedEntrySchema } from '../contract/ledger.ts'
import { problemSchema } from '../contract/problem.ts'
import { type EndedTask, endedTaskSchema, type TaskRequest, type TaskView, taskSchema } from '../contract/task.ts'
import { CommandError, exit } from './command.ts'
import { ProblemError } from './problem-error.ts'
import type { TokenSource } from './token.ts'

/** The broker as the commands see it. Every verb throws `ProblemError` when the broker says no, `CommandError` otherwise. */
export interface BrokerClient {
  issue(request: CredentialRequest): Promise<IssuedCredential | PendingApproval>
  grant(id: string): Promise<GrantView>
  grants(filter: Readonly<Record<string, string>>): Promise<GrantList>
  renew(grant: string, ttl?: string): Promise<Renewed>
  /** Tries again for a few seconds when the broker cannot be reached: what is not handed back lives on. */
  revoke(grant: string, reason: string | undefined): Promise<EndedGrant>
  revokeMatching(request: RevocationRequest): Promise<RevocationResult>
  openTask(request: TaskRequest): Promise<TaskView>
  heartbeat(task: string): Promise<TaskView>
  endTask(task: string, outcome: string | undefined): Promise<EndedTask>
  approval(id: string): Promise<ApprovalView>
  decideApproval(id: string, verdict: 'approve' | 'deny', reason: string | undefined): Promise<ApprovalView>
  entries(filter: Readonly<Record<string, string>>): Promise<EntryList>
  entry(index: number): Promise<StoredEntryView>
  /** The text of a receipt, as it came. */
  receipt(index: number): Promise<string>
}

interface Call {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
  readonly deadlineMs?: number
  /** Further tries after the broker could not be reached or said 503. Only for calls that may safely be repeated. */
  readonly retries?: number
}

const maxAnswerBytes = 8 * 1024 * 1024
const defaultDeadlineMs = 30_000
// Ending many grants waits for Vault, one after the other.
const endingDeadlineMs = 120_000
const pauseBetweenTriesMs = 500

/** A client of the broker at `url`. A refusal (4xx) is never retried. */
export function createBrokerClient(to: { readonly url: string; readonly token: TokenSource }): BrokerClient {
  const call = async <S extends z.ZodType>(schema: S, details: Call): Promise<z.output<S>> =>
    understood(schema, await send(to, details), to.url)
  const id = encodeURIComponent
  const post = (path: string, body: object, rest: Partial<Call> = {}): Call => ({ method: 'POST', path, body, ...rest })
  const get = (path: string): Call => ({ method: 'GET', path, retries: 2 })
  return {
    async issue(request) {
      const answer = await send(to, post('/v1/credentials', request))
      return answer.status === 202
        ? understood(pendingApprovalSchema, answer, to.url)
        : understood(issuedCredentialSchema, answer, to.url)
    },
    grant: (grant) => call(grantSchema, get(`/v1/grants/${id(grant)}`)),
    grants: (filter) => call(grantListSchema, get(`/v1/grants?${new URLSearchParams(filter)}`)),
    renew: (grant, ttl) => call(renewedSchema, post(`/v1/grants/${id(grant)}/renew`, ttl === undefined ? {} : { ttl })),
    revoke: (grant, reason) =>
      call(endedGrantSchema, post(`/v1/grants/${id(grant)}/revoke`, { reason }, { retries: 4, deadlineMs: 10_000 })),
    revokeMatching: (request) =>
      call(revocationResultSchema, post('/v1/revocations', request, { deadlineMs: endingDeadlineMs })),
    openTask: (request) => call(taskSchema, post('/v1/tasks', request)),
    heartbeat: (task) => call(taskSchema, post(`/v1/tasks/${id(task)}/heartbeat`, {}, { retries: 2 })),
    endTask: (task, outcome) =>
      call(
        endedTaskSchema,
        post(`/v1/tasks/${id(task)}/end`, { outcome }, { retries: 2, deadlineMs: endingDeadlineMs }),
      ),
    approval: (approval) => call(approvalSchema, get(`/v1/approvals/${id(approval)}`)),
    decideApproval: (approval, verdict, reason) =>
      call(approvalSchema, post(`/v1/approvals/${id(approval)}/${verdict}`, { reason })),
    entries: (filter) => call(entryListSchema, get(`/v1/ledger/entries?${new URLSearchParams(filter)}`)),
    entry: (index) => call(storedEntrySchema, get(`/v1/ledger/entries/${index}`)),
    receipt: async (index) => (await send(to, get(`/v1/ledger/entries/${index}/receipt`))).text,
  }
}

interface Answer {
  readonly status: number
  readonly text: string
  /** `undefined` when the text is no JSON. */
  readonly json: unknown
}

async function send(to: { url: string; token: TokenSource }, call: Call): Promise<Answer> {
  for (let triesLeft = call.retries ?? 0; ; triesLeft--) {
    try {
      return await sendOnce(to, call)
    } catch (error) {
      const passing = error instanceof ProblemError ? error.problem.status === 503 : error instanceof Unreachable
      if (!passing || triesLeft <= 0) throw error
      await pause(pauseBetweenTriesMs)
    }
  }
}

class Unreachable extends CommandError {}

async function sendOnce(to: { url: string; token: TokenSource }, call: Call): Promise<Answer> {
  const token = await to.token()
  let response: Response
  let text: string
  try {
    response = await fetch(`${to.url}${call.path}`, {
      method: call.method,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json, application/problem+json, text/plain',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      // A redirect would carry the token to a place that nobody named.
      redirect: 'error',
      signal: AbortSignal.timeout(call.deadlineMs ?? defaultDeadlineMs),
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    })
    text = await readBounded(response)
  } catch (error) {
    throw new Unreachable(exit.unavailable, `${to.url} ${whyUnreachable(error)}`, 'check WRIT_URL and the network', {
      cause: error,
    })
  }
  const json = parseJson(text)
  if (response.status >= 200 && response.status < 300) return { status: response.status, text, json }
  throw refusal(response, json, to.url)
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

function understood<S extends z.ZodType>(schema: S, { json }: Answer, url: string): z.output<S> {
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const fields = parsed.error.issues.map((issue) => issue.path.join('.') || 'the whole').slice(0, 5)
  throw new CommandError(
    exit.fault,
    `the answer of ${url} is not what this version of writ reads: ${fields.join(', ')}`,
  )
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > maxAnswerBytes) throw new Error('answered too much')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parseJson(text: string): unknown {
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
