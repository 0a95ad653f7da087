import { readFile } from 'node:fs/promises'
import { parseDuration } from '../../base/duration.ts'
import { messageOf } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { deliveryField } from '../../contract/credential.ts'
import { chosenBy, routesOf } from '../../identity/route.ts'
import { createVerifier } from '../../identity/verify.ts'
import { decodeUnverified } from '../../policy/claims.ts'
import type { PolicySet } from '../../policy/compile.ts'
import type { AccessRequest } from '../../policy/decision.ts'
import { type Explanation, explain, explainText } from '../../policy/explain.ts'
import { dateStartMs } from '../../policy/fields.ts'
import type { DecidableIdentity } from '../../policy/stand.ts'
import { identityOf } from '../../policy/testcases.ts'
import { type Command, CommandError, exit, exitStatusOf, type Io, UsageError, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'
import { loadOrReport } from './policy-files.ts'

const options = {
  token: { type: 'string' },
  'token-file': { type: 'string' },
  purpose: { type: 'string' },
  credential: { type: 'string' },
  ttl: { type: 'string' },
  task: { type: 'string' },
  reason: { type: 'string' },
  delivery: { type: 'string' },
  param: { type: 'string', multiple: true },
  now: { type: 'string' },
  policies: { type: 'string' },
  unverified: { type: 'boolean' },
  json: { type: 'boolean' },
} as const

/** `writ policy explain`: each claim and each rule, passed or failed, and why. */
export const policyExplainCommand: Command = {
  name: 'explain',
  summary: 'show each claim and rule of one decision, and why',
  usage: `
usage: writ policy explain (--token T | --token-file F | --token -) --purpose P [options]

Verifies the token with the keys of its issuer, decides as the broker would, and shows every step: each check of the token,
each claim a workload asks for, each rule, each part of a condition with the values it saw. When no workload fits, the nearest
one is shown. Asks no broker; limits are taken as unused.

  --token T         the workload token; \`-\` reads it from standard input, which keeps it out of the list of processes
  --token-file F    read the token from a file
  --purpose P       the purpose asked for
  --credential C    the credential, when the purpose names more than one
  --ttl 15m         the life asked for
  --task T          as if this task were open
  --reason TEXT     the reason given
  --delivery D      plain, wrapped or jwe
  --param NAME=V    a parameter of the caller; may be repeated
  --policies DIR    default ./policies
  --unverified      do not check the signature or the times: explain a decision about an old token, or without a network
  --now TIME        with --unverified, decide as of 2026-11-22T12:00:00Z instead of now
  --json            print the whole explanation as one JSON document

Exit status: 0 allowed, perhaps after approval; 3 denied; 4 the token is not accepted; 2 usage; 1 fault.
`,
  async run(args, io) {
    const { values } = parseOptions(args, options)
    if (values.purpose === undefined) throw new UsageError('--purpose is needed')
    if (values.now !== undefined && values.unverified !== true) throw new UsageError('--now goes with --unverified')
    const nowMs = values.now === undefined ? io.clock.now() : dateStartMs(values.now)
    if (nowMs === undefined) throw new UsageError('--now is a time such as 2026-11-22T12:00:00Z')
    const request = requestOf(values)
    const token = await readToken(values, io)
    const set = await loadOrReport(values.policies ?? './policies', io, values.json === true)
    if (set === undefined) return exit.fault
    const found = values.unverified === true ? unverified(set, token) : await verified(set, token, io)
    if (found.identity === undefined) return refuseToken(found, io, values.json === true)
    const explanation = explain(
      set,
      found.identity,
      { ...request, purpose: values.purpose },
      { active: 0, lastMinute: 0 },
      nowMs,
    )
    show(explanation, found, io, values.json === true)
    return explanation.decision.effect === 'deny' ? exitStatusOf(explanation.decision.refusal.code) : exit.done
  },
}

type Values = ReturnType<typeof parseOptions<typeof options>>['values']
type Verified = Awaited<ReturnType<ReturnType<typeof createVerifier>['explain']>>

interface Found {
  readonly identity: DecidableIdentity | undefined
  readonly reasons: Verified['reasons']
  readonly code: string | undefined
}

function requestOf(values: Values): Omit<AccessRequest, 'purpose'> {
  const ttlSeconds = values.ttl === undefined ? undefined : parseDuration(values.ttl)
  if (values.ttl !== undefined && ttlSeconds === undefined) throw new UsageError('--ttl is a duration such as 15m')
  const { delivery } = values
  const way = deliveryField.optional().safeParse(delivery)
  if (!way.success) throw new UsageError('--delivery is plain, wrapped or jwe')
  const params = (values.param ?? []).map((pair): [string, string] => {
    const at = pair.indexOf('=')
    if (at < 1) throw new UsageError('--param is NAME=VALUE')
    return [pair.slice(0, at), pair.slice(at + 1)]
  })
  return {
    credential: values.credential,
    ttlSeconds,
    reason: values.reason ?? '',
    task: values.task ?? '',
    taskEndsAtMs: undefined,
    params: Object.fromEntries(params),
    delivery: way.data,
    ip: '',
  }
}

async function readToken(values: Values, io: Io): Promise<string> {
  const { token, 'token-file': file } = values
  if ((token === undefined) === (file === undefined)) throw new UsageError('one of --token and --token-file is needed')
  if (file === undefined) return token === '-' ? (await io.readStdin(64 * 1024)).trim() : (token ?? '')
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw new CommandError(exit.fault, `the token file cannot be read: ${messageOf(error)}`)
  }
}

/** Verifies a token as the broker would, with the keys of its issuer. */
export async function verified(set: PolicySet, token: string, io: Io): Promise<Found> {
  const verifier = createVerifier({
    issuers: () => set.issuers,
    clock: io.clock,
    log: silentLog,
    allowLoopbackHttp: true,
  })
  try {
    const { result, reasons } = await verifier.explain(token)
    if (result.ok) return { identity: result.value, reasons, code: undefined }
    return { identity: undefined, reasons, code: result.refusal.code }
  } finally {
    verifier.close()
  }
}

function unverified(set: PolicySet, token: string): Found {
  const claims = decodeUnverified(token)
  if (claims === undefined) {
    const reason = { rule: 'form', ok: false, detail: 'this is not a JSON Web Token' }
    return { identity: undefined, reasons: [reason], code: 'token_invalid' }
  }
  const issuer = chosenBy(claims, routesOf(set.issuers))
  if ('nobody' in issuer) {
    const reason = { rule: 'issuer', ok: false, detail: issuer.nobody }
    return { identity: undefined, reasons: [reason], code: 'issuer_unknown' }
  }
  const reasons = [{ rule: 'issuer', ok: true, detail: `${issuer.name}; the signature and the times were NOT checked` }]
  return { identity: identityOf(set, { issuer: issuer.name, claims }), reasons, code: undefined }
}

/** Shows why a token is not accepted, and gives the exit status. */
export function refuseToken({ reasons, code }: Found, io: Io, asJson: boolean): number {
  if (asJson) writeJson(io, { token: { ok: false, code, reasons } })
  else {
    const lines = reasons.map(({ rule, ok, detail }) => `  ${ok ? 'pass' : 'FAIL'}  ${rule}: ${detail}\n`)
    io.stdout(printable(`token\n${lines.join('')}denied: ${code}\n`, true))
  }
  return exit.unauthenticated
}

function show(explanation: Explanation, { reasons }: Found, io: Io, asJson: boolean): void {
  if (asJson) writeJson(io, { token: { ok: true, reasons }, ...explanation })
  else io.stdout(printable(explainText(explanation, reasons), true))
}
