import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { cosignaturesOf, parseWitnessVkeys } from '../log/cosignature.ts'
import { NoteError } from '../log/note.ts'
import { ProofError } from '../log/proof.ts'
import { tileWidth } from '../log/tile.ts'
import { type LogPlace, openSource, type SourceOptions } from '../source/open.ts'
import { createFolderSource } from '../source/tile-folder.ts'
import type { TileSource } from '../source/tile-source.ts'
import { nodeDisk } from '../store/disk.ts'
import { listSegments } from '../store/segments.ts'
import { explainAbsence } from './absence.ts'
import { acceptAnyEntries, type EntryCheck } from './entry-check.ts'
import { startEntryThread } from './entry-thread.ts'
import { confirmHead, readHead, treeHead } from './head.ts'
import { createFindings, type Findings, type Problem } from './problem.ts'
import type { Range } from './ranges.ts'
import { type CheckedRecord, checkRecord, type Keeper } from './record-check.ts'
import { checkSegments, type Unsigned } from './segment-check.ts'
import { checkSince } from './since-check.ts'
import { createTrust, type Head, type Trust } from './trust.ts'
import { loadState, StateError, saveState } from './verify-state.ts'
import type { VerifyProgress, VerifyTarget } from './verify-state-schema.ts'

export type { Problem } from './problem.ts'

export interface VerifyReport {
  readonly ok: boolean
  readonly origin: string
  /** `any`: the entries are not ours to judge, so neither their form nor their meaning was checked. */
  readonly form: EntryForm
  /** Entries that were read and checked. */
  readonly entries: number
  /** Entries of which, on request, the hashes alone were checked, because they stand in an archive. */
  readonly skipped: number
  /** Entries the signed checkpoint covers, and its root (hexadecimal); absent without a sound checkpoint. */
  readonly signed?: { readonly size: number; readonly root: string }
  /** Where the log is a redacted copy: the root over the entries of the log itself, as its manifest states it. */
  readonly redactedFrom?: string
  /** Witnesses that cosigned the checkpoint, of those that were named, and when. */
  readonly cosigned?: readonly { readonly name: string; readonly time: string }[]
  /** Keys trusted at the end: those that were given, and those that they have passed the log on to. */
  readonly vkeys: readonly string[]
  /** Entries after those the checkpoint covers: durable, but not signed for yet. */
  readonly unsigned: number
  /** Bytes at the very end that are no whole entry: a write in progress, or one that a crash cut short. */
  readonly unfinishedBytes: number
  /** The saved checkpoint that this record was compared with. */
  readonly since?: { readonly size: number; readonly root: string }
  /** The first of them; `problemCount` says how many there are. */
  readonly problems: readonly Problem[]
  readonly problemCount: number
}

/** What the entries of a log are: those of writ, with a form and a meaning, or any. */
export type EntryForm = 'writ' | 'any'

export type VerifyOptions = LogPlace & {
  /** The verifier keys that are trusted to begin with, got from somewhere else than the log. */
  readonly vkey: string | readonly string[]
  /** A checkpoint saved earlier, as text. */
  readonly since?: string
  /** Verifier keys of witnesses, and how many of them must have cosigned the checkpoint. */
  readonly witnesses?: { readonly vkeys: readonly string[]; readonly quorum: number }
  /** What the entries are; `writ` unless given. */
  readonly form?: EntryForm
  /** Folders with entry bundles that the log has not. */
  readonly archives?: readonly string[]
  /** Token for a log that is not for everybody. */
  readonly token?: SourceOptions['token']
  /** Of bundles that the log says were moved, and that are nowhere, the hashes are enough. */
  readonly skipArchived?: boolean
  /** Where to keep how far it is, and to go on from when it is there; removed at the end. */
  readonly stateFile?: string
  /** Ends it between two bundles. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

/** Entries so far, of those that the checkpoint covers. */
export interface Progress {
  readonly entries: number
  readonly total: number
}

/**
 * Checks a log against public keys, trusting nothing else: every entry is in the tree, the tree is the one in the signed checkpoint and
 * extends that of the saved one, and every tile on the way is right; and, for a log of writ, every entry is canonical and of the
 * schema, and the story they tell is possible. Of a folder the segments are checked too. Memory does not grow with entries, and
 * nothing that a log holds makes it fail to answer.
 * @throws NoteError when a key is none; StateError when the state file is of something else; SourceError, BrokerFault or system
 * errors when the log cannot be read; the reason of `signal`
 */
export async function verifyLedger(options: VerifyOptions): Promise<VerifyReport> {
  const { form = 'writ', stateFile } = options
  const trust = createTrust([options.vkey].flat())
  parseWitnessVkeys(options.witnesses?.vkeys ?? [])
  const target: VerifyTarget = { place: placeOf(options), vkeys: trust.vkeys, form }
  const from = stateFile === undefined ? undefined : await resume(stateFile, target, trust)
  const { signal, token } = options
  // Archives are read beside it, so that what is found in neither can be told apart.
  const log = await openSource(options, { signal, token })
  const findings = createFindings()
  let entries: EntryCheck | undefined
  try {
    const head = await treeHead(log, trust, findings)
    const since = options.since === undefined ? undefined : readHead('since', options.since, trust, findings)
    entries = await openEntries(target, trust, from, head)
    const run: Run = { options, target, trust, from, findings, entries, log }
    const record = head === undefined ? { entries: 0, absent: [] } : await checkCovered(run, head)
    const { archived, learnt } = await entries.said()
    for (const key of learnt) trust.learn(key)
    const skipped = await noteAbsence(run, record, archived)
    // By now every rotation that the checkpoint covers has been read, and none after it.
    confirmHead('checkpoint', head, trust, findings)
    confirmHead('since', since, trust, findings)
    const cosigned = head && witnessed(head, options.witnesses, findings)
    if (head !== undefined && since !== undefined) await compareHeads(run, since, head)
    const unsigned = 'dir' in options ? await checkTail(run, options.dir, head) : { entries: 0, unfinishedBytes: 0 }
    if (stateFile !== undefined) await rm(stateFile, { force: true })
    return {
      ok: findings.count === 0,
      origin: trust.origin,
      form,
      entries: record.entries + unsigned.entries,
      skipped,
      ...(head && { signed: shown(head) }),
      ...(head?.sourceRoot && { redactedFrom: Buffer.from(head.sourceRoot).toString('hex') }),
      ...(cosigned && { cosigned }),
      vkeys: trust.vkeys,
      unsigned: unsigned.entries,
      unfinishedBytes: unsigned.unfinishedBytes,
      ...(since && { since: shown(since) }),
      problems: findings.first,
      problemCount: findings.count,
    }
  } finally {
    await entries?.close()
    await log.close()
  }
}

/** One verification under way. */
interface Run {
  readonly options: VerifyOptions
  readonly target: VerifyTarget
  readonly trust: Trust
  readonly from: VerifyProgress | undefined
  readonly findings: Findings
  readonly entries: EntryCheck
  readonly log: TileSource
}

const placeOf = (place: LogPlace): string => ('dir' in place ? resolve(place.dir) : place.url.href)

/** The state of an interrupted run, with the keys that it had learnt learnt again. */
async function resume(file: string, target: VerifyTarget, trust: Trust): Promise<VerifyProgress | undefined> {
  const from = await loadState(file, target)
  for (const key of from?.learnt ?? []) {
    if (trust.learn(key) !== undefined || !trust.vkeys.includes(key.newKey)) {
      throw new StateError('it trusts a key that those given have not passed the log on to')
    }
  }
  return from
}

/** What checks the entries: another thread, where there are many of them. */
async function openEntries(
  { form, vkeys }: VerifyTarget,
  trust: Trust,
  from: VerifyProgress | undefined,
  head: Head | undefined,
): Promise<EntryCheck> {
  if (form === 'any') return acceptAnyEntries()
  if ((head?.size ?? 0) > inlineEntries) return startEntryThread({ vkeys, learnt: trust.learnt, story: from })
  // Only now: where another thread checks them, this one needs none of it.
  const { createEntryCheck } = await import('./writ-entries.ts')
  const { compileShape } = await import('./shape.ts')
  const { entryJsonSchema } = await import('./entry-json-schema.ts')
  return createEntryCheck(compileShape(entryJsonSchema()), trust, from)
}

/** Checks all that the checkpoint covers. */
function checkCovered({ options, target, from, findings, entries, log }: Run, head: Head): Promise<CheckedRecord> {
  const { archives = [], stateFile, signal, onProgress } = options
  return checkRecord({
    sources: [log, ...archives.map(createFolderSource)],
    head,
    entries,
    ours: target.form === 'writ',
    findings,
    from,
    signal,
    onProgress: (entries) => onProgress?.({ entries, total: head.size }),
    keeper: stateFile === undefined ? undefined : createKeeper(stateFile, target),
  })
}

function createKeeper(file: string, target: VerifyTarget): Keeper {
  let keptAtMs = systemClock.now()
  return {
    due: () => systemClock.now() - keptAtMs >= keepEveryMs,
    async keep(progress) {
      await saveState(file, target, progress)
      keptAtMs = systemClock.now()
    },
  }
}

/** Says of every bundle that is not there why that is wrong; returns how many entries were left out on purpose. */
async function noteAbsence(
  { options, findings }: Run,
  { absent }: CheckedRecord,
  archived: readonly Range[],
): Promise<number> {
  if (absent.length === 0) return 0
  const [inSegments] = 'dir' in options ? await listSegments(nodeDisk, options.dir) : []
  const { skipArchived = false } = options
  const { problems, skipped } = explainAbsence(absent, archived, { skipArchived, inSegments })
  findings.add(...problems)
  return skipped
}

/** Checks the segments of a folder. */
function checkTail({ log, entries, findings, trust }: Run, dir: string, head: Head | undefined): Promise<Unsigned> {
  return checkSegments({
    dir,
    log,
    signedSize: head?.size,
    entries,
    findings,
    async coveredByNow(count) {
      const ignored = createFindings()
      const now = await treeHead(log, trust, ignored)
      confirmHead('checkpoint', now, trust, ignored)
      return ignored.count === 0 && now !== undefined && now.size >= count
    },
  })
}

async function compareHeads({ log, findings }: Run, since: Head, head: Head): Promise<void> {
  try {
    if (head.sourceRoot !== undefined) throw new ProofError('a redacted copy has another tree')
    await checkSince(log, since, head)
  } catch (error) {
    if (!(error instanceof ProofError)) throw error
    const message = `the log does not extend the saved checkpoint: ${error.message}`
    findings.add({ rule: 'since', message })
  }
}

/** Requires the cosignatures of as many of the witnesses as were asked for. */
function witnessed(
  { note }: Head,
  witnesses: VerifyOptions['witnesses'],
  findings: Findings,
): VerifyReport['cosigned'] {
  if (witnesses === undefined) return undefined
  const { vkeys, quorum } = witnesses
  try {
    const found = cosignaturesOf(note, parseWitnessVkeys(vkeys))
    if (found.length < quorum) {
      const message = `${found.length} of the ${vkeys.length} witnesses cosigned the checkpoint, and ${quorum} must`
      findings.add({ rule: 'witness', message })
    }
    return found.map(({ name, timeMs }) => ({ name, time: new Date(timeMs).toISOString() }))
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    findings.add({ rule: 'witness', message: `the cosignatures of the checkpoint do not hold: ${error.message}` })
    return []
  }
}

/** Below this, starting threads takes longer than they save. */
const inlineEntries = 64 * tileWidth
const keepEveryMs = 5_000

const shown = ({ size, root }: Head): { size: number; root: string } => ({
  size,
  root: Buffer.from(root).toString('hex'),
})
