import { readFile, stat } from 'node:fs/promises'
import { messageOf } from '../../base/errors.ts'
import { type Problem, type VerifyReport, verifyLedger } from '../../ledger/check.ts'
import { NoteError } from '../../ledger/note.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'

/** `writ ledger verify`: offline proof that a folder is what was signed. */
export const ledgerVerifyCommand: Command = {
  name: 'verify',
  summary: 'prove that the record is whole, unaltered and makes sense',
  usage: `
usage: writ ledger verify DIR --vkey K [--since FILE] [--json]

Reads every entry in DIR, the folder of a ledger or a copy of it, and checks it against the verifier key alone: checksums,
canonical form, schema, the order of times, the story the entries tell (each issuance has its intent, nothing is renewed
after its end, every policy set was loaded before it was relied on), and that the Merkle root over all of them is the one
in the signed checkpoint. Needs neither the broker nor a network; the broker may be running.

  --vkey K      the verifier key (name+id+base64), kept by whoever verifies and not taken from DIR
  --since FILE  a checkpoint saved earlier: proves that nothing it covered was changed or removed since
  --json        print the report as one JSON document

Exit status: 0 verified, 6 not verified, 2 usage, 1 DIR cannot be read.

examples:
  writ ledger verify ./ledger --vkey "$VKEY"
  cp ./ledger/checkpoint saved.txt     # today; and next quarter:
  writ ledger verify ./ledger --vkey "$VKEY" --since saved.txt
`,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const options = { vkey: { type: 'string' }, since: { type: 'string' }, json: { type: 'boolean' } } as const
  const { values, positionals } = parseOptions(args, options, ['DIR'])
  const { vkey, since } = values
  const [dir = ''] = positionals
  if (vkey === undefined) throw new UsageError('--vkey is needed: without a key from elsewhere nothing is proved')
  if (/^https?:\/\//.test(dir))
    throw new UsageError('DIR is a folder: copy that of the ledger here and verify the copy')
  if (!(await isFolder(dir))) throw new CommandError(exit.fault, `${printable(dir)} is not a folder that can be read`)
  const saved = since === undefined ? undefined : await readSaved(since)
  const progress = showProgress(io)
  try {
    const report = await verifyLedger({
      dir,
      vkey,
      ...(saved !== undefined && { since: saved }),
      onProgress: ({ entries }) => progress.show(entries),
    })
    progress.clear()
    if (values.json) writeJson(io, report)
    else print(report, dir, io)
    return report.ok ? exit.done : exit.verificationFailed
  } catch (error) {
    progress.clear()
    if (error instanceof NoteError) throw new UsageError(`--vkey: ${error.message}`)
    throw new CommandError(exit.fault, `${printable(dir)} cannot be read: ${messageOf(error)}`, undefined, {
      cause: error,
    })
  }
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )

async function readSaved(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new CommandError(exit.fault, `${printable(file)} cannot be read`, undefined, { cause })
  }
}

/** One line on a terminal, rewritten, once the work has taken a second. */
function showProgress(io: Io): { show(entries: number): void; clear(): void } {
  const startedMs = io.clock.now()
  let shownMs = startedMs + 800
  let shown = false
  return {
    show(entries) {
      const now = io.clock.now()
      if (!io.isTty.stderr || now - shownMs < 200) return
      shownMs = now
      shown = true
      io.stderr(`\r${entries} entries checked, ${Math.round(entries / ((now - startedMs) / 1000))} a second `)
    },
    clear() {
      if (shown) io.stderr('\r\u001b[2K')
    },
  }
}

function print(report: VerifyReport, dir: string, io: Io): void {
  const { ok, origin, entries, signed, unsigned, unfinishedBytes, since, problems, problemCount } = report
  const lines = [`ledger      ${origin} in ${dir}`, `entries     ${entries} read and checked`]
  if (signed !== undefined) lines.push(`checkpoint  over ${signed.size} entries, root ${signed.root}`)
  if (since !== undefined) lines.push(`since       over ${since.size} entries, root ${since.root}`)
  if (unsigned > 0) lines.push(`unsigned    ${unsigned} entries after the checkpoint: durable, not signed for yet`)
  if (unfinishedBytes > 0) lines.push(`unfinished  ${unfinishedBytes} bytes at the end are no whole entry`)
  for (const problem of problems) lines.push(`PROBLEM     ${problem.rule}: ${problem.message}${place(problem)}`)
  if (problemCount > problems.length) lines.push(`            and ${problemCount - problems.length} more`)
  lines.push(ok ? 'verified' : `NOT verified: ${problemCount} problem${problemCount === 1 ? '' : 's'}`)
  io.stdout(lines.map((line) => `${printable(line)}\n`).join(''))
}

const place = ({ segment, offset }: Problem): string =>
  segment === undefined || segment === '' ? '' : ` (segments/${segment}, offset ${offset ?? 0})`
