import { verifyReceipt } from '../../ledger/log/receipt.ts'
import { nodeDisk, readSmallFile } from '../../ledger/store/disk.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'
import { orNotProved, readKeys } from '../verifying.ts'

/** `writ ledger check-receipt`: offline proof of one entry. */
export const ledgerCheckReceiptCommand: Command = {
  name: 'check-receipt',
  summary: 'verify the receipt of one entry, offline',
  usage: `
usage: writ ledger check-receipt FILE --entry FILE|- --vkey K… [--json]

Checks that FILE (c2sp.org/tlog-proof, as writ ledger prove --out and GET /v1/ledger/entries/INDEX/receipt give it) proves that an
entry stands in the log: its checkpoint is signed by a key of the log, and the proof leads from the entry to its root. Needs
neither the broker nor a network.

  --entry FILE  the entry, byte for byte as it was recorded (canonical JSON, no newline at the end); - reads standard input
  --vkey K      the verifier key (name+id+base64), kept by whoever verifies; may be given again: any of them may have signed
  --json        print {"ok":true,"index","origin","size","root"}

Exit status: 0 proved, 6 not, 2 usage, 1 a file cannot be read.

example:
  writ ledger check-receipt 42.tlog-proof --entry 42.json --vkey "$VKEY"
`,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    { entry: { type: 'string' }, vkey: { type: 'string', multiple: true }, json: { type: 'boolean' } },
    ['FILE'],
  )
  const [file = ''] = positionals
  const keys = readKeys(values.vkey)
  if (values.entry === undefined) throw new UsageError('--entry is needed: a receipt proves nothing without its entry')
  if (keys.length === 0) throw new UsageError('--vkey is needed: without a key from elsewhere nothing is proved')
  const receipt = (await read(file)).toString()
  const entry = values.entry === '-' ? Buffer.from(await io.readStdin()) : await read(values.entry)
  const { index, checkpoint } = await orNotProved(() => verifyReceipt({ receipt, entry, keys }))
  const { origin, size } = checkpoint
  const root = Buffer.from(checkpoint.root).toString('hex')
  if (values.json) writeJson(io, { ok: true, index, origin, size, root })
  else io.stdout(`${printable(`proved: entry ${index} of the ${size} of ${origin}, root ${root}`)}\n`)
  return exit.done
}

const maxFileBytes = 1024 * 1024

async function read(file: string): Promise<Buffer> {
  const bytes = await readSmallFile(nodeDisk, file, maxFileBytes).catch((cause: unknown) => {
    throw new CommandError(exit.fault, `${printable(file)} cannot be read`, undefined, { cause })
  })
  if (bytes === undefined) throw new CommandError(exit.fault, `there is no file ${printable(file)}`)
  return bytes
}
