import { BrokerFault, messageOf } from '../../base/errors.ts'
import { createPrivateFile, generateLedgerKey, readPrivateFile } from '../../ledger/keys.ts'
import { NoteError, parseSkey } from '../../ledger/log/note.ts'
import { type Command, CommandError, exit, type Io, type ListedCommand, UsageError, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'

const keygen: Command = {
  name: 'keygen',
  summary: 'make the key that signs a ledger',
  usage: `
usage: writ ledger keygen --origin NAME --out FILE [--json]

Makes an Ed25519 key (C2SP signed-note), writes it to FILE with mode 0600, and prints the verifier key to hand to auditors. Of a
FILE that exists already, it prints the verifier key and changes nothing.

  --origin NAME  identity of the log, such as writ.example.com/ledger; the same as ledger.origin in writ.yaml
  --out FILE     the same as ledger.keyFile in writ.yaml
  --json         print {"origin","vkey","file","created"}

example:
  writ ledger keygen --origin writ.example.com/ledger --out /etc/writ/ledger.key
`,
  async run(args, io) {
    const options = { origin: { type: 'string' }, out: { type: 'string' }, json: { type: 'boolean' } } as const
    const { values } = parseOptions(args, options)
    const { origin, out: file } = values
    if (origin === undefined || file === undefined) throw new UsageError('--origin and --out are needed')
    const created = await makeKey(origin, file)
    const key = parseSkey(await readPrivateFile(file, undefined))
    if (key.name !== origin) throw new CommandError(exit.fault, `${file} already holds the key of ${key.name}`)
    if (values.json) writeJson(io, { origin, vkey: key.vkey, file, created })
    else io.stdout(`${printable(key.vkey)}\n`)
    return exit.done
  },
}

async function makeKey(origin: string, file: string): Promise<boolean> {
  try {
    const { skeyText } = generateLedgerKey(origin)
    return await createPrivateFile(file, () => `${skeyText}\n`)
  } catch (error) {
    if (error instanceof NoteError) throw new UsageError(`--origin: ${error.message}`)
    if (error instanceof BrokerFault) throw error
    throw new CommandError(exit.fault, `${file} cannot be written: ${messageOf(error)}`)
  }
}

// Each is imported only when it is chosen: what it takes to talk to a broker would make the verifier half as large again.
const listed: readonly ListedCommand[] = [
  {
    name: 'verify',
    summary: 'prove that the record is whole, unaltered and makes sense',
    load: async () => (await import('./ledger-verify.ts')).ledgerVerifyCommand,
  },
  {
    name: 'prove',
    summary: 'show an entry, or those of a grant, with the proof that it stands in the record',
    load: async () => (await import('./ledger-prove.ts')).ledgerProveCommand,
  },
  {
    name: 'check-receipt',
    summary: 'verify the receipt of one entry, offline',
    load: async () => (await import('./ledger-check-receipt.ts')).ledgerCheckReceiptCommand,
  },
  {
    name: 'tail',
    summary: 'show the newest entries, and with -f those to come',
    load: async () => (await import('./ledger-tail.ts')).ledgerTailCommand,
  },
  {
    name: 'export',
    summary: 'write the record as JSON lines, CSV, OCSF events or Parquet',
    load: async () => (await import('./ledger-export.ts')).ledgerExportCommand,
  },
  {
    name: 'redact',
    summary: 'write a copy without names that still verifies, or check one',
    load: async () => (await import('./ledger-redact.ts')).ledgerRedactCommand,
  },
  {
    name: 'archive',
    summary: 'move old entries to a second folder, on record',
    load: async () => (await import('./ledger-archive.ts')).ledgerArchiveCommand,
  },
]
const all = [...listed, keygen]

/** `writ ledger`: read and verify the record. */
export const ledgerCommand: Command = {
  name: 'ledger',
  summary: 'read and verify the record',
  usage: `
usage: writ ledger COMMAND

${all.map(({ name, summary }) => `  ${name.padEnd(15)}${summary}`).join('\n')}

\`writ ledger COMMAND --help\` explains each.
`,
  subcommands: [keygen],
  listed,
  run(_args: readonly string[], _io: Io) {
    return Promise.reject(new UsageError(`which? ${all.map(({ name }) => name).join(', ')}`))
  },
}
