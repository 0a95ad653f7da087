import { nearest } from '../../base/nearest.ts'
import { timeText } from '../../contract/fields.ts'
import { entrySchema } from '../../ledger/entry.ts'
import type { ExportFilter } from '../../ledger/export/filter.ts'
import { type FormatName, formatNames, openFormat } from '../../ledger/export/format.ts'
import { type ExportSource, openExportSource } from '../../ledger/export/source.ts'
import { type ExportCounts, writeExport } from '../../ledger/export/write.ts'
import { createAtomicFile } from '../atomic-file.ts'
import { signalStatus } from '../child.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { logFailure, logPlace, logToken, logTokenHelp, requireFolder } from '../log-place.ts'
import { parseOptions } from '../options.ts'
import { createProgress } from '../progress.ts'
import { type StopSignal, stopSignal } from '../stop-signal.ts'
import { escaped, printable } from '../terminal.ts'
import { readKeys } from '../verifying.ts'

/** `writ ledger export`: the record in the forms that auditors and SIEMs read. */
export const ledgerExportCommand: Command = {
  name: 'export',
  summary: 'write the record as JSON lines, CSV, OCSF events or Parquet',
  usage: `
usage: writ ledger export DIR|URL [options]

Writes the entries of a ledger: a folder, a copy of one, a redacted copy, or the URL of its log. Every entry that a checkpoint covers is led
to the root before it is written. With --vkey the checkpoint must be signed by that key, and exactly the entries it covers are
written. Without, the signature is not looked at, and a folder also gives the entries that no checkpoint covers yet.
docs/export.md describes the formats.

  --format F        jsonl (default), csv, ocsf (OCSF 1.8 events) or parquet
  --out FILE        write to FILE, whole or not at all (default: standard output; not for parquet)
  --vkey K          the verifier key, kept by whoever exports and not taken from DIR; after a rotation, repeat it for the new key
  --archive DIR     a folder that older entries were moved to; may be repeated
${logTokenHelp}
  --after INDEX     only entries after that one, to go on from an earlier export
  --from TIME       only entries from that time on, such as 2026-11-01 or 2026-11-01T08:00:00Z
  --to TIME         only entries before that time
  --kind KIND       only this kind, such as grant.issued; may be repeated
  --workload NAME   only this workload
  --owner TEAM      only what this team owns
  --json            with --out: print what was exported as one JSON document

Exit status: 0 done, 6 the log is not what its checkpoint was made over, 2 usage, 1 it cannot be read or written.

examples:
  writ ledger export ./ledger --vkey "$VKEY" --format csv --out ledger.csv
  writ ledger export https://writ.example.com/log --vkey "$VKEY" --format ocsf --after 41999 | ship-to-siem
`,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      format: { type: 'string' },
      out: { type: 'string' },
      vkey: { type: 'string', multiple: true },
      archive: { type: 'string', multiple: true },
      after: { type: 'string' },
      from: { type: 'string' },
      to: { type: 'string' },
      kind: { type: 'string', multiple: true },
      'token-file': { type: 'string' },
      workload: { type: 'string' },
      owner: { type: 'string' },
      json: { type: 'boolean' },
    },
    ['DIR|URL'],
  )
  const [place = ''] = positionals
  const format = formatOf(values.format ?? 'jsonl')
  const { out } = values
  if (out === undefined && format === 'parquet') throw new UsageError('parquet needs --out FILE')
  if (out === undefined && values.json === true) throw new UsageError('--json needs --out FILE: stdout is the export')
  const filter = filterOf(values)
  const keys = values.vkey && readKeys(values.vkey)
  const log = await logPlace(place)
  for (const folder of values.archive ?? []) await requireFolder(folder)
  const stop = stopSignal(io)
  try {
    const token = logToken(values['token-file'], io)
    const source = await openExportSource(log, { archives: values.archive, token }, keys)
    try {
      const counts = await exportTo(out, { source, format, filter, io, stop })
      if (values.json) writeJson(io, summaryOf(source, counts, format))
      else io.stderr(summaryText(source, counts, format, out))
    } finally {
      await source.close()
    }
    return exit.done
  } catch (error) {
    const signal = stop.received()
    if (signal !== undefined) return signalStatus(signal)
    throw logFailure(error, place)
  } finally {
    stop.release()
  }
}

interface Work {
  readonly source: ExportSource
  readonly format: FormatName
  readonly filter: ExportFilter
  readonly io: Io
  readonly stop: StopSignal
}

async function exportTo(out: string | undefined, work: Work): Promise<ExportCounts> {
  if (out === undefined) return write(work, standardOutput(work.io))
  const file = await createAtomicFile(out)
  try {
    const counts = await write(work, file.write)
    await file.commit()
    return counts
  } finally {
    await file.abandon()
  }
}

async function write(
  { source, format, filter, io, stop }: Work,
  put: (chunk: string | Uint8Array) => Promise<void>,
): Promise<ExportCounts> {
  const { origin, size, root } = source.head
  const progress = createProgress(io, 'entries read', size)
  try {
    return await writeExport({
      source,
      filter,
      format: await openFormat(format, { origin, size, root: hex(root) }),
      async write(chunk) {
        stop.throwIfReceived()
        if (chunk.length > 0) await put(chunk)
      },
      onProgress: (index) => progress.show(index + 1),
    })
  } finally {
    progress.clear()
  }
}

function standardOutput(io: Io): (chunk: string | Uint8Array) => Promise<void> {
  return async (chunk) => {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8')
    // A file takes what was recorded; a terminal must not act on it.
    io.stdout(io.isTty.stdout ? escaped(text.replaceAll('\r\n', '\n')) : text)
    await io.drained?.()
  }
}

function formatOf(text: string): FormatName {
  const format = formatNames.find((name) => name === text)
  if (format === undefined) throw new UsageError(`--format is one of ${formatNames.join(', ')}`)
  return format
}

interface FilterOptions {
  readonly after?: string | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly kind?: readonly string[] | undefined
  readonly workload?: string | undefined
  readonly owner?: string | undefined
}

function filterOf({ after, from, to, kind, workload, owner }: FilterOptions): ExportFilter {
  if (after !== undefined && !/^\d{1,15}$/.test(after)) throw new UsageError('--after is the index of an entry')
  for (const name of kind ?? []) refuseUnknownKind(name)
  return {
    ...(after !== undefined && { after: Number(after) }),
    ...(from !== undefined && { from: timeOf('--from', from) }),
    ...(to !== undefined && { to: timeOf('--to', to) }),
    ...(kind !== undefined && { kinds: kind }),
    ...(workload !== undefined && { workload }),
    ...(owner !== undefined && { owner }),
  }
}

function refuseUnknownKind(name: string): void {
  const kinds = entrySchema.options.map(({ shape }) => shape.kind.value)
  if (kinds.some((kind) => kind === name)) return
  const guess = nearest(name, kinds)
  throw new UsageError(`there is no kind "${name}"${guess === undefined ? '' : `; did you mean ${guess}?`}`)
}

function timeOf(option: string, text: string): string {
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
  const ms = isTime ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw new UsageError(`${option} is a date or a time with a zone, such as 2026-11-01T08:00:00Z`)
  return timeText(ms)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const summaryOf = ({ head, signatureChecked, manifest }: ExportSource, counts: ExportCounts, format: FormatName) => ({
  format,
  ...counts,
  log: {
    origin: head.origin,
    size: head.size,
    root: hex(head.root),
    redacted: manifest !== undefined,
    signature_checked: signatureChecked,
  },
})

function summaryText(source: ExportSource, counts: ExportCounts, format: FormatName, out: string | undefined): string {
  const { head, signatureChecked, manifest } = source
  const { exported, read, unsigned } = counts
  const lines = [
    `exported    ${exported} of ${read} entries as ${format}${out === undefined ? '' : ` to ${out}`}`,
    `log         ${head.origin}${manifest === undefined ? '' : ', a redacted copy'}`,
    `checkpoint  over ${head.size} entries, root ${hex(head.root)}`,
    `signature   ${signatureChecked ? 'verified' : 'NOT checked: no --vkey'}`,
  ]
  if (unsigned > 0) lines.push(`unsigned    ${unsigned} of the exported are after the checkpoint: not signed for yet`)
  return lines.map((line) => `${printable(line)}\n`).join('')
}
