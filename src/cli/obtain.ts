import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import {
  type CredentialRequest,
  credentialRequestSchema,
  type IssuedCredential,
  type IssuedSet,
  type PendingApproval,
} from '../contract/credential.ts'
import { CommandError, exit, type Io, UsageError } from './command.ts'
import type { BrokerClient } from './http-client.ts'
import { printable } from './terminal.ts'

/** Options that say which credential is wanted; `get` and `exec` share them. */
export const requestOptions = {
  purpose: { type: 'string' },
  credential: { type: 'string', multiple: true },
  ttl: { type: 'string' },
  task: { type: 'string' },
  reason: { type: 'string' },
  approval: { type: 'string' },
  delivery: { type: 'string' },
  param: { type: 'string', multiple: true },
  wait: { type: 'boolean' },
} as const

/** The lines of a help text that explain `requestOptions`. */
export const requestHelp = `  --purpose P         why the credential is needed, as the Workload document names it
  --credential C      which one, when the purpose names more than one; repeated, several at once, all or nothing
  --ttl 15m           how long it is needed; policy may give less, never more
  --task T            the task it belongs to; it ends with the task
  --reason TEXT       for the record, and for whoever approves
  --delivery D        plain, wrapped (a token that unwraps the secret once), or jwe (encrypted on its way to a key of this
                      process, or to that of --dpop-key, and opened here)
  --param K=V         a parameter the credential accepts; K=@FILE reads the value from a file; may be repeated
  --approval AP       collect what this approval allows
  --wait              when a person must approve first, wait until they have`

interface RequestValues {
  readonly purpose?: string | undefined
  readonly credential?: string[] | undefined
  readonly ttl?: string | undefined
  readonly task?: string | undefined
  readonly reason?: string | undefined
  readonly approval?: string | undefined
  readonly delivery?: string | undefined
  readonly param?: string[] | undefined
}

/** Checks the options against the wire shape before anything is sent. @throws UsageError naming the option. */
export function toRequest(values: RequestValues): CredentialRequest {
  if (values.purpose === undefined) throw new UsageError('--purpose is missing')
  const { purpose, ttl, task, reason, approval, delivery } = values
  const credential = values.credential?.length === 1 ? values.credential[0] : values.credential
  const given = { purpose, credential, ttl, task, reason, approval, delivery, params: toParams(values.param ?? []) }
  const parsed = credentialRequestSchema.safeParse(
    Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  )
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const option = issue?.path[0] === 'params' ? 'param' : String(issue?.path[0] ?? 'purpose')
  throw new UsageError(`--${option}: ${issue?.message ?? 'not valid'}`)
}

function toParams(pairs: readonly string[]): Record<string, string> | undefined {
  if (pairs.length === 0) return undefined
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name, value] = splitPair('--param', pair)
      return [name, value.startsWith('@') ? readValue(name, value.slice(1)) : value]
    }),
  )
}

/** Splits `NAME=value` at the first equals sign. @throws UsageError naming `option` when there is none. */
export function splitPair(option: string, pair: string): readonly [string, string] {
  const at = pair.indexOf('=')
  if (at < 1) throw new UsageError(`${option} takes NAME=value`)
  return [pair.slice(0, at), pair.slice(at + 1)]
}

function readValue(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new CommandError(exit.usage, `--param ${name}: the file ${path} cannot be read`, undefined, { cause })
  }
}

/** What a request for one credential or several was answered with. */
export type IssuedAnswer = IssuedCredential | IssuedSet

export const credentialsOf = (answer: IssuedAnswer): readonly IssuedCredential[] =>
  'credentials' in answer ? answer.credentials : [answer]

const pollEveryMs = 2_000

/**
 * Asks for the credential. When a person must approve, returns the pending approval, or with `wait` reports progress and
 * polls until the verdict or until `giveUp`, then collects. @throws CommandError (refused) when the approval is denied or runs out.
 */
export async function obtain(
  client: BrokerClient,
  request: CredentialRequest,
  wait: boolean,
  io: Io,
  giveUp: () => boolean = () => false,
): Promise<IssuedAnswer | PendingApproval> {
  const answer = await client.issue(request)
  if (!('approval' in answer) || !wait) return answer
  const { approval, approvers, expires_at } = answer
  io.stderr(`writ: waiting for ${printable(approvers.join(', '))} to approve ${approval} (until ${expires_at})\n`)
  for (;;) {
    await pause(pollEveryMs)
    if (giveUp()) return answer
    const { status } = await client.approval(approval)
    if (status === 'approved') break
    if (status !== 'pending') throw new CommandError(exit.refused, `approval ${approval} is ${status}`)
  }
  io.stderr(`writ: ${approval} is approved\n`)
  return client.issue({ ...request, approval })
}

/**
 * Says that a person must act first, and how to go on; for when nobody waits. What is delivered `jwe` is approved for one key, and a key
 * that is not in a file is gone with this process.
 */
export function explainPending(
  pending: PendingApproval,
  values: { readonly delivery?: string | undefined; readonly 'dpop-key'?: string | undefined },
  io: Io,
): number {
  const keyIsLost = values.delivery === 'jwe' && values['dpop-key'] === undefined
  const again = keyIsLost
    ? 'the approval is for the key of this call: ask with --wait, or with the same --dpop-key FILE each time'
    : `send the same request again with --approval ${pending.approval}, or use --wait`
  io.stderr(
    `writ: ${printable(pending.approvers.join(', '))} must approve first: writ approve ${pending.approval}\n` +
      `  fix: ${again} (until ${pending.expires_at})\n`,
  )
  return exit.unavailable
}
