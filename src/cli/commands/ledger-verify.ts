import { readFile } from 'node:fs/promises'
import { BrokerFault, messageOf } from '../../base/errors.ts'
import { NoteError } from '../../ledger/log/note.ts'
import { SourceError } from '../../ledger/source/tile-source.ts'
import { type Problem, type VerifyOptions, type VerifyReport, verifyLedger } from '../../ledger/verify/check.ts'
import { StateError } from '../../ledger/verify/verify-state.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { logPlace, logToken, logTokenHelp, requireFolder } from '../log-place.ts'
import { parseOptions } from '../options.ts'
import { createProgressBar } from '../progress-bar.ts'
import { printable } from '../terminal.ts'

/** `writ ledger verify`: proof that a log is what was signed, by whoever has its key. */
export const ledgerVerifyCommand: Command = {
  name: 'verify',
  summary: 'prove that the record is whole, unaltered and makes sense',
  usage: `
usage: writ ledger verify (DIR | URL) --vkey K [options]

Reads a whole log and checks it against public keys alone: every entry and every tile of the tree over them, the root and the
signature in its checkpoint; and of each entry the canonical form and the schema, the order of times, and the story they tell: each
issuance has its intent and each end its issuance, no credential outlives its ceilings, every policy set was loaded before it was
relied on. Of a folder it also checks what is not signed for yet. It trusts nobody, needs no broker and, for a folder, no network.

DIR is the folder of a ledger, or a copy of it or of what it publishes; the broker may be running. URL is that of any C2SP
tlog-tiles log, such as https://writ.example.com/log.

  --vkey K         a verifier key (name+id+base64), kept by whoever verifies and not taken from the log; may be repeated. A key that
                   these have passed the log on to (config.key_rotated) is trusted from that entry on
  --since FILE     a checkpoint saved earlier: proves that nothing it covered was changed or removed since
  --witness K      verifier key of a witness that must have cosigned the checkpoint; may be repeated
  --quorum N       how many of the witnesses must have (default: all of them)
  --resume FILE    keeps in FILE how far it is, and goes on from there when it is interrupted and started again
  --archive DIR    a folder with entry bundles that the log has moved away; may be repeated
  --skip-archived  of entries that were moved away, the hashes are enough; says how many were not read
${logTokenHelp}
  --entries any    for a log of others: checks tree, root and signature, and takes the entries as they are
  --json           print the report as one JSON document

Exit status: 0 verified, 6 not verified, 2 usage, 1 the log cannot be read (to its end).

examples:
  writ ledger verify ./ledger --vkey "$VKEY"
  cp ./ledger/checkpoint saved.txt     # today; and next quarter:
  writ ledger verify ./ledger --vkey "$VKEY" --since saved.txt
  writ ledger verify https://writ.example.com/log --vkey "$VKEY" --resume verify.state
`,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      vkey: { type: 'string', multiple: true },
      since: { type: 'string' },
      resume: { type: 'string' },
      archive: { type: 'string', multiple: true },
      'skip-archived': { type: 'boolean' },
      witness: { type: 'string', multiple: true },
      quorum: { type: 'string' },
      'token-file': { type: 'string' },
      entries: { type: 'string' },
      json: { type: 'boolean' },
    },
    ['(DIR | URL)'],
  )
  const [at = ''] = positionals
  const { vkey, entries: form = 'writ', archive: archives = [], resume } = values
  if (vkey === undefined) throw new UsageError('--vkey is needed: without a key from elsewhere nothing is proved')
  if (form !== 'writ' && form !== 'any') throw new UsageError('--entries is writ or any')
  const witnesses = witnessesOf(values.witness, values.quorum)
  const place = await logPlace(at)
  for (const folder of archives) await requireFolder(folder)
  const since = values.since === undefined ? undefined : await readSaved(values.since)
  const interrupted = new AbortController()
  const stopListening = io.onSignal(['SIGINT', 'SIGTERM'], () => {
    interrupted.abort()
    // The second one ends the process, should it not end by itself.
    stopListening()
  })
  const bar = createProgressBar(io, 'entries')
  try {
    const report = await verifyLedger({
      ...place,
      vkey,
      form,
      archives,
      token: logToken(values['token-file'], io),
      ...(witnesses && { witnesses }),
      skipArchived: values['skip-archived'] === true,
      signal: interrupted.signal,
      onProgress: ({ entries, total }) => bar.show(entries, total),
      ...(since !== undefined && { since }),
      ...(resume !== undefined && { stateFile: resume }),
    })
    bar.clear()
    if (values.json) writeJson(io, report)
    else print(report, at, io)
    return report.ok ? exit.done : exit.verificationFailed
  } catch (error) {
    bar.clear()
    throw explained(error, at, resume, interrupted.signal.aborted)
  } finally {
    stopListening()
  }
}

/** @throws UsageError */
function witnessesOf(vkeys: readonly string[] | undefined, quorum: string | undefined): VerifyOptions['witnesses'] {
  if (vkeys === undefined && quorum === undefined) return undefined
  if (vkeys === undefined) throw new UsageError('--quorum goes with --witness')
  const wanted = quorum === undefined ? vkeys.length : Number(quorum)
  if (!/^[1-9]\d*$/.test(quorum ?? '1') || wanted > vkeys.length) {
    throw new UsageError(`--quorum is a number from 1 to ${vkeys.length}, that of the witnesses`)
  }
  return { vkeys, quorum: wanted }
}

/** What the caller is told when there is no report. A defect of the verifier is not among it. */
function explained(error: unknown, at: string, resume: string | undefined, interrupted: boolean): unknown {
  if (error instanceof NoteError) return new UsageError(`--vkey or --witness: ${error.message}`)
  if (error instanceof StateError) return new UsageError(`--resume ${resume}: ${error.message}`)
  const again =
    resume === undefined ? 'next time, with --resume FILE it can be continued' : 'the same command continues it'
  if (interrupted) return new CommandError(exit.fault, 'interrupted before the end', again, { cause: error })
  if (!(error instanceof SourceError || error instanceof BrokerFault || isSystemError(error))) return error
  return new CommandError(exit.fault, `${at} cannot be read: ${messageOf(error)}`, again, { cause: error })
}

const isSystemError = (error: unknown): boolean =>
  error instanceof Error && 'syscall' in error && typeof error.syscall === 'string'

async function readSaved(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new CommandError(exit.fault, `${file} cannot be read`, undefined, { cause })
  }
}

function print(report: VerifyReport, at: string, io: Io): void {
  const {
    ok,
    origin,
    form,
    entries,
    skipped,
    signed,
    redactedFrom,
    cosigned,
    since,
    vkeys,
    unsigned,
    unfinishedBytes,
  } = report
  const { problems, problemCount } = report
  const lines = [`ledger      ${origin} in ${at}`]
  lines.push(
    `entries     ${entries} read and checked${form === 'any' ? '; their form and meaning were not looked at' : ''}`,
  )
  if (skipped > 0) lines.push(`archived    ${skipped} entries were not read: of them the hashes alone were checked`)
  if (signed !== undefined) lines.push(`checkpoint  over ${signed.size} entries, root ${signed.root}`)
  if (redactedFrom !== undefined)
    lines.push(`redacted    a copy without names of the log whose root is ${redactedFrom}`)
  if (since !== undefined) lines.push(`since       over ${since.size} entries, root ${since.root}`)
  for (const { name, time } of cosigned ?? []) lines.push(`witness     ${name}, ${time}`)
  for (const vkey of vkeys.length > 1 ? vkeys : []) lines.push(`key         ${vkey}`)
  if (unsigned > 0) lines.push(`unsigned    ${unsigned} entries after the checkpoint: durable, not signed for yet`)
  if (unfinishedBytes > 0) lines.push(`unfinished  ${unfinishedBytes} bytes at the end are no whole entry`)
  for (const problem of problems) lines.push(`PROBLEM     ${problem.rule}: ${problem.message}${placeIn(problem)}`)
  if (problemCount > problems.length) lines.push(`            and ${problemCount - problems.length} more`)
  lines.push(ok ? 'verified' : `NOT verified: ${problemCount} problem${problemCount === 1 ? '' : 's'}`)
  io.stdout(lines.map((line) => `${printable(line)}\n`).join(''))
}

function placeIn({ path, offset, message }: Problem): string {
  if (path === undefined || (offset === undefined && message.includes(path))) return ''
  return ` (${path}${offset === undefined ? '' : `, offset ${offset}`})`
}
