import { isUtf8 } from 'node:buffer'
import { messageOf } from '../base/errors.ts'
import { isCanonical } from './canonical.ts'
import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import { type Disk, nodeDisk, readSmallFile } from './disk.ts'
import { type Entry, entrySchema } from './entry.ts'
import { createMeaning, type Meaning } from './meaning.ts'
import { createTree, type RunningTree } from './merkle.ts'
import { parseVkey, type VerifierKey } from './note.ts'
import { checkpointPath } from './recover.ts'
import { type WalkEnd, type WalkedRecord, walk } from './walk.ts'

/** One thing that is wrong, and where. */
export interface Problem {
  /** `checkpoint`, `since`, `segment`, `canonical`, `schema`, `meaning` or `root`. */
  readonly rule: string
  readonly message: string
  readonly index?: number
  readonly segment?: string
  readonly offset?: number
}

export interface VerifyReport {
  readonly ok: boolean
  readonly origin: string
  /** Entries that were read and checked. */
  readonly entries: number
  /** Entries the signed checkpoint covers, and its root (hexadecimal); absent without a sound checkpoint. */
  readonly signed?: { readonly size: number; readonly root: string }
  /** Entries after those the checkpoint covers: durable, but not signed for yet. */
  readonly unsigned: number
  /** Bytes at the very end that are no whole entry: a write in progress, or one that a crash cut short. */
  readonly unfinishedBytes: number
  /** The saved checkpoint that this record was shown to extend. */
  readonly since?: { readonly size: number; readonly root: string }
  /** The first of them; `problemCount` says how many there are. */
  readonly problems: readonly Problem[]
  readonly problemCount: number
}

export interface VerifyOptions {
  readonly dir: string
  /** The verifier key, got from somewhere else than the folder. */
  readonly vkey: string
  /** A checkpoint saved earlier, as text. */
  readonly since?: string
  readonly onProgress?: (done: { readonly entries: number; readonly bytes: number }) => void
  readonly fs?: Disk
}

const maxProblems = 100
const maxCheckpointBytes = 512 * 1024

/**
 * Checks a ledger folder against one public key, trusting nothing else: every record is whole, canonical and of the
 * schema; the story its entries tell is possible; the Merkle root over them is the one in the signed checkpoint, and
 * at the size of the saved checkpoint the one in that. Needs neither broker nor network; memory does not grow with entries.
 * @throws NoteError when `vkey` is not a verifier key; system errors when the folder cannot be read.
 */
export async function verifyLedger(options: VerifyOptions): Promise<VerifyReport> {
  const { dir, fs: disk = nodeDisk, onProgress } = options
  const key = parseVkey(options.vkey)
  const findings = createFindings()
  // The checkpoint is read first: entries only ever grow, so all it covers must be there afterwards.
  const signed = await readSigned(disk, dir, key, findings)
  const since = options.since === undefined ? undefined : readSince(options.since, key, findings)
  const tree = createTree()
  const meaning = createMeaning()
  const heads = [
    { rule: 'root', name: 'the signed checkpoint', head: signed },
    { rule: 'since', name: 'the saved checkpoint', head: since },
  ]
  const compareHeads = (): void => {
    for (const { rule, name, head } of heads) compareHead(tree, rule, name, head, findings)
  }
  compareHeads()
  const end = await walk(disk, dir, (records, bytes) => {
    for (const record of records) {
      checkRecord(record, meaning, findings)
      tree.append(Buffer.from(record.leafHash, 'hex'))
      compareHeads()
    }
    onProgress?.({ entries: tree.size, bytes })
  })
  noteEnd(end, tree.size, Math.max(signed?.size ?? 0, since?.size ?? 0), findings)
  for (const { rule, name, head } of heads) {
    if (head !== undefined && head.size > tree.size) {
      findings.add({
        rule,
        message: `${name} is over ${head.size} entries, and only ${tree.size} are whole and present`,
      })
    }
  }
  return {
    ok: findings.count() === 0,
    origin: key.name,
    entries: tree.size,
    ...(signed && { signed: shown(signed) }),
    unsigned: Math.max(0, tree.size - (signed?.size ?? 0)),
    unfinishedBytes: end.state === 'whole' ? end.unfinishedBytes : 0,
    ...(since && { since: shown(since) }),
    problems: findings.first,
    problemCount: findings.count(),
  }
}

interface Findings {
  readonly first: readonly Problem[]
  count(): number
  add(problem: Problem): void
}

function createFindings(): Findings {
  const first: Problem[] = []
  let count = 0
  return {
    first,
    count: () => count,
    add(problem) {
      count++
      if (first.length < maxProblems) first.push(problem)
    },
  }
}

async function readSigned(
  disk: Disk,
  dir: string,
  key: VerifierKey,
  findings: Findings,
): Promise<Checkpoint | undefined> {
  const bytes = await readSmallFile(disk, checkpointPath(dir), maxCheckpointBytes)
  try {
    if (bytes === undefined) throw new Error('there is none')
    return openCheckpoint(bytes, key)
  } catch (error) {
    findings.add({ rule: 'checkpoint', message: `the signed checkpoint cannot be trusted: ${messageOf(error)}` })
    return undefined
  }
}

function readSince(note: string, key: VerifierKey, findings: Findings): Checkpoint | undefined {
  try {
    return openCheckpoint(note, key)
  } catch (error) {
    findings.add({ rule: 'since', message: `the saved checkpoint cannot be trusted: ${messageOf(error)}` })
    return undefined
  }
}

function compareHead(
  tree: RunningTree,
  rule: string,
  name: string,
  head: Checkpoint | undefined,
  findings: Findings,
): void {
  if (head === undefined || head.size !== tree.size || Buffer.compare(head.root, tree.root()) === 0) return
  const range = head.size === 0 ? 'no entries' : `entries 0 to ${head.size - 1}`
  findings.add({ rule, message: `${name} was signed for other data: the root over ${range} is not the one it states` })
}

function checkRecord(record: WalkedRecord, meaning: Meaning, findings: Findings): void {
  const { index, segment, offset, payload } = record
  const add = (rule: string, message: string): void =>
    findings.add({ rule, message: `entry ${index}: ${message}`, index, segment, offset })
  let value: unknown
  const text = payload.toString('utf8')
  try {
    value = JSON.parse(text)
  } catch {
    add('canonical', 'it is not JSON')
    return
  }
  if (!isUtf8(payload) || !isCanonical(text, value)) add('canonical', 'it is not in canonical form (RFC 8785)')
  const parsed = entrySchema.safeParse(value)
  if (!parsed.success) {
    const where = parsed.error.issues.map(({ path, code }) => `${path.join('.') || 'entry'}: ${code}`).join(', ')
    add('schema', `it is not an entry this version knows (${where})`)
    return
  }
  for (const message of meaning.next(parsed.data satisfies Entry)) add('meaning', message)
}

function noteEnd(end: WalkEnd, entries: number, promised: number, findings: Findings): void {
  const { segment, offset } = end
  const at = { index: entries, segment, offset }
  if (end.state === 'damaged') {
    findings.add({ rule: 'segment', message: `${end.message}; nothing after it was checked`, ...at })
  } else if (end.unfinishedBytes > 0 && entries < promised) {
    // A checkpoint covers what should stand here, so this is not a write that nobody was told about.
    findings.add({ rule: 'segment', message: `entry ${entries} is damaged or cut short`, ...at })
  }
}

const shown = ({ size, root }: Checkpoint): { size: number; root: string } => ({
  size,
  root: Buffer.from(root).toString('hex'),
})
