import { messageOf } from '../../base/errors.ts'
import type { IssuedCredential } from '../../contract/credential.ts'
import { relaySignals, runChild, type SignalRelay, signalStatus } from '../child.ts'
import { type Command, type Io, UsageError } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import type { BrokerClient } from '../http-client.ts'
import { explainPending, obtain, requestHelp, requestOptions, toRequest } from '../obtain.ts'
import { parseOptions } from '../options.ts'
import { keepRenewed } from '../renewal.ts'
import { type Mapping, parseMapping, toVariables } from '../secret-fields.ts'
import { printable } from '../terminal.ts'

const usage = `
usage: writ exec --purpose P [options] -- COMMAND [ARGUMENT…]

Fetches a credential, runs COMMAND with it in its environment, renews it at two thirds of its life, and hands it back when
COMMAND ends, however it ends. Signals go to COMMAND. Nothing is restarted.

${requestHelp}
  --env NAME=field    put this field of the secret into the variable NAME; may be repeated. Without it every field goes
                      into a variable of its own name in upper case (USERNAME, PASSWORD). WRIT_GRANT and
                      WRIT_EXPIRES_AT are always set.
${clientHelp}

Exit status: that of COMMAND; 128 and the number of the signal that ended it; 126 when it cannot be run, 127 when there is
no such command. Before COMMAND runs: 2 usage, 3 refused by policy, 4 not authenticated, 5 unavailable, 1 any other fault.

examples:
  writ exec --purpose read-orders --env PGUSER=username --env PGPASSWORD=password -- psql -h db orders
  writ exec --purpose deploy --task "$TASK" -- ./deploy.sh
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
    env: { type: 'string', multiple: true },
  })
  if (command.length === 0) throw new UsageError('which command? write it after --')
  const mapping = parseMapping(values.env ?? [])
  const request = toRequest(values)
  if (request.delivery === 'wrapped' && mapping.length > 0) {
    throw new UsageError('--env needs the fields of the secret, and --delivery wrapped hides them')
  }
  const client = connect(values, io)
  // From here on no signal may end this process before the credential is handed back.
  const signals = relaySignals(io)
  try {
    const answer = await obtain(client, request, values.wait === true, io, () => signals.ended() !== undefined)
    if ('approval' in answer) return interrupted(signals) ?? explainPending(answer, io)
    try {
      return (
        interrupted(signals) ?? (await runWith(answer, mapping, { client, command, ttl: request.ttl, signals, io }))
      )
    } finally {
      await handBack(answer, client, io)
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
  issued: IssuedCredential,
  mapping: Mapping,
  deps: {
    client: BrokerClient
    command: readonly string[]
    ttl: string | undefined
    signals: SignalRelay
    io: Io
  },
): Promise<number> {
  const { client, command, ttl, signals, io } = deps
  const environment = { ...io.environment.child(), ...toVariables(issued, mapping) }
  const renewal = keepRenewed({
    issued,
    renew: (grant) => client.renew(grant, ttl),
    clock: io.clock,
    say: (text) => io.stderr(`writ: ${printable(text)}\n`),
  })
  try {
    return await runChild(command, environment, signals)
  } finally {
    renewal.stop()
  }
}

// The exit status is the command's: a hand-back that failed is said aloud, and the credential ends by itself.
async function handBack(issued: IssuedCredential, client: BrokerClient, io: Io): Promise<void> {
  try {
    await client.revoke(issued.grant, 'the command it was for has ended')
  } catch (error) {
    const end =
      issued.expires_at === null ? 'it does not end by itself' : `it ends at ${issued.expires_at} at the latest`
    io.stderr(`writ: ${issued.grant} could not be handed back: ${printable(messageOf(error))}; ${end}\n`)
  }
}
