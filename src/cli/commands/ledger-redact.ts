import { stat } from 'node:fs/promises'
import { messageOf } from '../../base/errors.ts'
import { openNamesKey } from '../../ledger/export/names-key.ts'
import { findRedactionFault, writeRedactedCopy } from '../../ledger/export/redacted-copy.ts'
import type { Manifest } from '../../ledger/export/redaction.ts'
import { openExportSource } from '../../ledger/export/source.ts'
import { readPrivateFile } from '../../ledger/keys.ts'
import { parseSkey, parseVkey } from '../../ledger/log/note.ts'
import { signalStatus } from '../child.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { logFailure, logPlace } from '../log-place.ts'
import { parseOptions } from '../options.ts'
import { createProgress } from '../progress.ts'
import { type StopSignal, stopSignal } from '../stop-signal.ts'
import { printable } from '../terminal.ts'
import { readKeys } from '../verifying.ts'

/** `writ ledger redact`: a copy for outsiders, without names, that still verifies. */
export const ledgerRedactCommand: Command = {
  name: 'redact',
  summary: 'write a copy without names that still verifies, or check one',
  usage: `
usage: writ ledger redact DIR --key FILE --names-key FILE --out DIR2
       writ ledger redact --check DIR2 --original DIR --names-key FILE [--vkey K]

Writes a copy of the ledger in DIR for somebody who must not learn names: every name and every text is replaced by a keyed hash, the same
for the same name, and kinds, times, durations, outcomes and digests stay. DIR2 is a log of its own whose manifest the key of the
ledger signs: writ ledger verify DIR2 --vkey K accepts it, and writ ledger export reads it. docs/export.md lists every field.

With --check, shows that DIR2 is what the documented rules make of the log in DIR, which may have grown since, under that names key.

  --key FILE           the key that signs the ledger (ledger.keyFile in writ.yaml)
  --names-key FILE     the key that names are hashed with, mode 0600; whoever has it can find names again by trying
  --names-key-new      make that file when there is none
  --out DIR2           folder to write; must not exist
  --check DIR2         a copy to check
  --original DIR       the ledger it was made from
  --archive DIR        a folder that older entries of the ledger were moved to; may be repeated
  --vkey K             with --check: the verifier key; without it, signatures are not looked at
  --json               print what was written or checked as one JSON document

Exit status: 0 done, 6 the ledger does not hold or the copy is not its transform, 2 usage, 1 something cannot be read or written.

example:
  writ ledger redact ./ledger --key /etc/writ/ledger.key --names-key names.key --names-key-new --out ./for-auditor
`,
  run,
}

const options = {
  key: { type: 'string' },
  'names-key': { type: 'string' },
  'names-key-new': { type: 'boolean' },
  out: { type: 'string' },
  check: { type: 'string' },
  original: { type: 'string' },
  vkey: { type: 'string' },
  archive: { type: 'string', multiple: true },
  json: { type: 'boolean' },
} as const

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(args, options, ['[DIR]'])
  const [dir] = positionals
  const { key, out, check, original, vkey, archive: archives } = values
  const namesKeyFile = values['names-key']
  if (namesKeyFile === undefined) throw new UsageError('--names-key is needed')
  const stop = stopSignal(io)
  try {
    if (check !== undefined) {
      if (dir !== undefined || out !== undefined || key !== undefined || values['names-key-new'] === true) {
        throw new UsageError('--check goes with --original, --names-key and --vkey')
      }
      if (original === undefined) throw new UsageError('--check needs --original: the ledger the copy was made from')
      const namesKey = await openNamesKey(namesKeyFile, false)
      return await checkCopy({ check, original, vkey, archives, namesKey, json: values.json === true, io, stop })
    }
    if (original !== undefined || vkey !== undefined) throw new UsageError('--original and --vkey go with --check')
    if (dir === undefined) throw new UsageError('DIR is missing')
    if (key === undefined || out === undefined) throw new UsageError('--key and --out are needed')
    const namesKey = await openNamesKey(namesKeyFile, values['names-key-new'] === true)
    return await writeCopy({ dir, keyFile: key, out, archives, namesKey, json: values.json === true, io, stop })
  } catch (error) {
    const signal = stop.received()
    if (signal !== undefined) return signalStatus(signal)
    throw logFailure(error, check === undefined ? (dir ?? '') : `${check} or ${original ?? ''}`)
  } finally {
    stop.release()
  }
}

interface Common {
  readonly archives: readonly string[] | undefined
  readonly namesKey: Uint8Array
  readonly json: boolean
  readonly io: Io
  readonly stop: StopSignal
}

async function writeCopy({
  dir,
  keyFile,
  out,
  ...common
}: Common & { readonly dir: string; readonly keyFile: string; readonly out: string }): Promise<number> {
  const { archives, namesKey, json, io } = common
  const log = await logPlace(dir)
  if (await exists(out)) throw new CommandError(exit.fault, `${printable(out)} exists; a copy replaces nothing`)
  const key = await openSigningKey(keyFile)
  const source = await openExportSource(log, { archives }, [parseVkey(key.vkey)])
  if (source.manifest !== undefined) throw new CommandError(exit.fault, `${printable(dir)} is a redacted copy already`)
  const manifest = await counting(common, source.head.size, 'entries redacted', (onProgress) =>
    writeRedactedCopy({ source, namesKey, key, dir: out, onProgress }),
  )
  if (json) writeJson(io, { out, ...shown(manifest) })
  else io.stderr(`${printable(`redacted ${manifest.size} entries of ${manifest.origin} into ${out}`)}\n`)
  return exit.done
}

async function checkCopy({
  check,
  original: place,
  vkey,
  ...common
}: Common & {
  readonly check: string
  readonly original: string
  readonly vkey: string | undefined
}): Promise<number> {
  const { archives, namesKey, json, io } = common
  const [copyPlace, log] = [await logPlace(check), await logPlace(place)]
  const keys = vkey === undefined ? undefined : readKeys([vkey])
  const copy = await openExportSource(copyPlace, {}, keys)
  const { manifest } = copy
  if (manifest === undefined) throw new CommandError(exit.verificationFailed, `${printable(check)} has no manifest`)
  const original = await openExportSource(log, { archives }, keys)
  const fault = await counting(common, manifest.size, 'entries checked', (onProgress) =>
    findRedactionFault({ copy, manifest, original, namesKey, onProgress }),
  )
  const signatures = keys === undefined ? 'NOT checked: no --vkey' : 'verified'
  if (json) writeJson(io, { ok: fault === undefined, fault, signature_checked: keys !== undefined, ...shown(manifest) })
  else {
    const verdict = fault === undefined ? 'it is the transform of that log' : `NOT the transform of that log: ${fault}`
    io.stdout(`${printable(`${check}: ${manifest.size} entries of ${manifest.origin}: ${verdict}`)}\n`)
    io.stdout(`signatures ${signatures}\n`)
  }
  return fault === undefined ? exit.done : exit.verificationFailed
}

async function counting<T>(
  { io, stop }: Common,
  total: number,
  what: string,
  work: (onProgress: (done: number) => void) => Promise<T>,
): Promise<T> {
  const progress = createProgress(io, what, total)
  try {
    return await work((done) => {
      stop.throwIfReceived()
      progress.show(done)
    })
  } finally {
    progress.clear()
  }
}

async function openSigningKey(file: string) {
  const text = await readPrivateFile(file, undefined)
  try {
    return parseSkey(text)
  } catch (error) {
    throw new CommandError(exit.fault, `${printable(file)} holds no ledger key: ${messageOf(error)}`)
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const shown = ({ origin, size, sourceRoot, root, transform, namesKeyId }: Manifest) => ({
  origin,
  size,
  source_root: Buffer.from(sourceRoot).toString('hex'),
  root: Buffer.from(root).toString('hex'),
  transform,
  names_key_id: namesKeyId,
})
