import { randomBytes } from 'node:crypto'
import { messageOf } from '../../base/errors.ts'
import { createLog } from '../../http/log.ts'
import { createPrivateFile } from '../../ledger/keys.ts'
import { formatSkey, keyTypes, NoteError } from '../../ledger/log/note.ts'
import { loadWitnessConfig } from '../../witness/config.ts'
import { openWitnessKey } from '../../witness/key.ts'
import { type RunningWitness, startWitness } from '../../witness/start.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'

const keygen: Command = {
  name: 'keygen',
  summary: 'make the key of a witness',
  usage: `
usage: writ witness keygen --name NAME --out FILE [--json]

Makes an Ed25519 key for cosignatures (C2SP tlog-cosignature, type 4), writes it to FILE with mode 0600, and prints the verifier
key, which those name who want to count its cosignatures. Of a FILE that exists already, it prints the verifier key and changes
nothing. A key is for one witness: never give it a second folder.

  --name NAME  what the witness is called in checkpoints: a host name, a path behind it if need be
  --out FILE   the same as keyFile in the configuration of the witness
  --json       print {"name","vkey","file","created"}

example:
  writ witness keygen --name witness.example.org --out /etc/writ/witness.key
`,
  async run(args, io) {
    const options = { name: { type: 'string' }, out: { type: 'string' }, json: { type: 'boolean' } } as const
    const { values } = parseOptions(args, options)
    const { name, out: file } = values
    if (name === undefined || file === undefined) throw new UsageError('--name and --out are needed')
    const created = await makeKey(name, file)
    const { name: found, vkey } = await openWitnessKey(file)
    if (found !== name) throw new CommandError(exit.fault, `${file} already holds the key of ${found}`)
    if (values.json) writeJson(io, { name, vkey, file, created })
    else io.stdout(`${printable(vkey)}\n`)
    return exit.done
  },
}

async function makeKey(name: string, file: string): Promise<boolean> {
  try {
    const skey = formatSkey(name, randomBytes(32), keyTypes.cosignature)
    return await createPrivateFile(file, () => `${skey}\n`)
  } catch (error) {
    if (error instanceof NoteError) throw new UsageError(`--name: ${error.message}`)
    throw new CommandError(exit.fault, `${file} cannot be written: ${messageOf(error)}`)
  }
}

/** `writ witness`: watch the logs of others, so that none of them can show two histories. */
export const witnessCommand: Command = {
  name: 'witness',
  summary: 'cosign the checkpoints of other logs',
  usage: `
usage: writ witness --config FILE
       writ witness keygen --name NAME --out FILE

Runs a witness (C2SP tlog-witness): it cosigns a checkpoint of a log it knows when that extends all it has cosigned of that log
before, and never otherwise. Prints {"event":"listening","url":…,"vkey":…} on stdout once it is ready; the log goes to stderr, one
JSON object a line. docs/witness.md describes FILE.

  --config FILE  the configuration: listen, data, keyFile, logs

Signals: SIGTERM and SIGINT finish what is under way and exit 0.
Exit status 2 when the configuration is wrong, 1 when the witness cannot start or can remember nothing any more.

example:
  writ witness --config witness.yaml
`,
  subcommands: [keygen],
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, { config: { type: 'string' } })
  if (values.config === undefined) throw new UsageError('--config is needed')
  const config = loadWitnessConfig(values.config)
  if (!config.ok) {
    const problems = config.refusal.map((problem) => `  ${problem}`).join('\n')
    throw new CommandError(exit.usage, `the configuration is wrong:\n${problems}`)
  }
  const log = createLog()
  const asked = Promise.withResolvers<'asked'>()
  const stopListening = io.onSignal(['SIGTERM', 'SIGINT'], () => asked.resolve('asked'))
  try {
    const witness = await startWitness(config.value, { clock: io.clock, log }).catch((cause: unknown) => {
      throw new CommandError(exit.fault, `the witness cannot start: ${messageOf(cause)}`, undefined, { cause })
    })
    return await serve(witness, asked.promise, io)
  } finally {
    stopListening()
    log.flush()
  }
}

async function serve(witness: RunningWitness, asked: Promise<'asked'>, io: Io): Promise<number> {
  try {
    writeJson(io, { event: 'listening', url: witness.url, vkey: witness.vkey })
    const ended = await Promise.race([asked, witness.failed])
    if (ended === 'asked') return exit.done
    throw new CommandError(
      exit.fault,
      `the witness can remember nothing any more: ${ended.message}`,
      'look at its disk; what it has cosigned is there when it starts again',
    )
  } finally {
    await witness.close()
  }
}
