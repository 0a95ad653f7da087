import { messageOf } from '../../base/errors.ts'
import type { IssuedCredential } from '../../contract/credential.ts'
import { relaySignals, runChild, type SignalRelay, signalStatus } from '../child.ts'
import { type Command, type Io, UsageError } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { type ExecTask, execTask } from '../exec-task.ts'
import { formatHelp } from '../formats/table.ts'
import { handoverOptions, parseHandover } from '../handover.ts'
import type { BrokerClient } from '../http-client.ts'
import {
  credentialsOf,
  explainPending,
  type IssuedAnswer,
  obtain,
  requestHelp,
  requestOptions,
  toRequest,
} from '../obtain.ts'
import { parseOptions } from '../options.ts'
import { keepRenewed, type Renewal } from '../renewal.ts'
import { grantVariables, type Mapping, parseMapping, toVariables } from '../secret-fields.ts'
import { printable } from '../terminal.ts'

const usage = `
usage: writ exec --purpose P [options] -- COMMAND [ARGUMENT…]

Fetches a credential, runs COMMAND with it in its environment, renews it at two thirds of its life, and hands it back when
COMMAND ends, however it ends. Signals go to COMMAND. Nothing is restarted.

With --intent it opens a task of its own, says while COMMAND runs that it is at work, and ends it after. The task of a CI job, which
its token names, ends with the last command of the job that hands back; one that --task names goes on.

${requestHelp}
  --intent TEXT       open a task: what COMMAND is about to do, in words an auditor can read
  --env NAME=field    put this field of the secret into the variable NAME; may be repeated. Without it every field goes
                      into a variable of its own name in upper case (USERNAME, PASSWORD), unless --fd or --file hands
                      the secret over. WRIT_GRANT, WRIT_TASK and WRIT_EXPIRES_AT are set where there is one.
                      Of several credentials a field is credential.field, and a variable of its own is
                      ORDERS_RW_PASSWORD.
  --fd N=FORMAT       let COMMAND read it from descriptor N (3 to 9); json unless a format is named; may be repeated
  --file NAME=FORMAT  put it into a file in memory that is removed when COMMAND ends, and the path of the file into the
                      variable NAME; may be repeated
${clientHelp}

${formatHelp}

Exit status: that of COMMAND; 128 and the number of the signal that ended it; 126 when it cannot be run, 127 when there is
no such command. Before COMMAND runs: 2 usage, 3 refused by policy, 4 not authenticated, 5 unavailable, 1 any other fault.

examples:
  writ exec --purpose read-orders --env PGUSER=username --env PGPASSWORD=password -- psql -h db orders
  writ exec --purpose read-orders --file PGPASSFILE=pgpass --host db --env PGUSER=username -- psql -h db orders
  writ exec --purpose read-orders --fd 3=raw:password -- ./app --password-file /dev/fd/3
  writ exec --purpose migrate --credential orders-rw --credential internal-tls --env PGPASSWORD=orders-rw.password -- ./migrate
  writ exec --purpose deploy --task "$TASK" -- ./deploy.sh
  writ exec --purpose fix-bug --intent "find why order 42 was billed twice" -- ./agent.sh
`

/** `writ exec`: run a command with a credential that dies with it. */
export const execCommand: Command = {
  name: 'exec',
  summary: 'run a command with a credential that dies with it',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const split = args.indexOf('--')
  const command = split === -1 ? [] : args.slice(split + 1)
  const { values } = parseOptions(split === -1 ? args : args.slice(0, split), {
    ...clientOptions,
    ...requestOptions,
    ...handoverOptions,
    env: { type: 'string', multiple: true },
    intent: { type: 'string' },
  })
  if (command.length === 0) throw new UsageError('which command? write it after --')
  const mapping = parseMapping(values.env ?? [])
  const request = toRequest(values)
  if (request.delivery === 'wrapped' && mapping.length > 0) {
    throw new UsageError('--env needs the fields of the secret, and --delivery wrapped hides them')
  }
  const handOver = parseHandover(values, request, io)
  const client = connect(values, io)
  // From here on no signal may end this process before the credential is handed back.
  const signals = relaySignals(io)
  try {
    const task = await execTask(client, { purpose: request.purpose, task: request.task, intent: values.intent }, io)
    const asked = task.named === undefined ? request : { ...request, task: task.named }
    let issued: IssuedAnswer | undefined
    let outcome = 'nothing was run'
    try {
      const answer = await obtain(client, asked, values.wait === true, io, () => signals.ended() !== undefined)
      if ('approval' in answer) return interrupted(signals) ?? explainPending(answer, values, io)
      issued = answer
      task.begin(credentialsOf(answer)[0]?.task)
      const stopped = interrupted(signals)
      const status =
        stopped ?? (await runWith(answer, mapping, { client, command, ttl: request.ttl, handOver, signals, io }))
      if (stopped === undefined) outcome = `exit status ${status}`
      return status
    } finally {
      await handBack(issued, task, outcome, client, io)
    }
  } finally {
    signals.close()
  }
}

function interrupted(signals: SignalRelay): number | undefined {
  const signal = signals.ended()
  return signal === undefined ? undefined : signalStatus(signal)
}

async function runWith(
  issued: IssuedAnswer,
  mapping: Mapping,
  deps: {
    client: BrokerClient
    command: readonly string[]
    ttl: string | undefined
    handOver: ReturnType<typeof parseHandover>
    signals: SignalRelay
    io: Io
  },
): Promise<number> {
  const { client, command, ttl, handOver, signals, io } = deps
  const handed = handOver?.(issued)
  let renewals: readonly Renewal[] = []
  try {
    const secret = handed === undefined || mapping.length > 0 ? toVariables(issued, mapping) : grantVariables(issued)
    const environment = { ...io.environment.child(), ...secret, ...handed?.variables }
    renewals = credentialsOf(issued).map((one) =>
      keepRenewed({
        issued: one,
        renew: (grant) => client.renew(grant, ttl),
        clock: io.clock,
        say: (text) => io.stderr(`writ: ${printable(text)}\n`),
      }),
    )
    return await runChild(command, environment, signals, handed?.descriptors)
  } finally {
    for (const renewal of renewals) renewal.stop()
    handed?.remove()
  }
}

// The exit status is the command's: a hand-back that failed is said aloud, and the credential ends by itself. Its own task takes the
// credential with it; the task of a job is left to the others of the job until it holds nothing more.
async function handBack(
  issued: IssuedAnswer | undefined,
  task: ExecTask,
  outcome: string,
  client: BrokerClient,
  io: Io,
): Promise<void> {
  if (task.isOwn && (await task.end(outcome))) return
  if (issued !== undefined) await Promise.all(credentialsOf(issued).map((one) => revoke(one, client, io)))
  if (!task.isOwn) await task.end(outcome)
}

async function revoke(issued: IssuedCredential, client: BrokerClient, io: Io): Promise<void> {
  try {
    await client.revoke(issued.grant, 'the command it was for has ended')
  } catch (error) {
    const end =
      issued.expires_at === null ? 'it does not end by itself' : `it ends at ${issued.expires_at} at the latest`
    io.stderr(`writ: ${issued.grant} could not be handed back: ${printable(messageOf(error))}; ${end}\n`)
  }
}
