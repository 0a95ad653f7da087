import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { type Checkpoint, parseCheckpoint } from '../ledger/log/checkpoint.ts'
import type { CosigningKey } from '../ledger/log/cosignature.ts'
import { emptyRoot } from '../ledger/log/merkle.ts'
import {
  formatNote,
  formatSignature,
  NoteError,
  type SplitNote,
  splitNote,
  type VerifierKey,
  verifySignatures,
} from '../ledger/log/note.ts'
import { type Proof, ProofError, verifyConsistency } from '../ledger/log/proof.ts'
import { parseAddCheckpoint } from '../ledger/log/witness-protocol.ts'
import type { Head, HeadStore } from './head-store.ts'

/** What the witness says to a checkpoint; the statuses are those of the protocol. */
export type Answer =
  /** Signature line of the witness, with its newline. */
  | { readonly status: 200; readonly cosignature: string }
  /** Entries of the newest checkpoint it has cosigned. */
  | { readonly status: 409; readonly size: number }
  | Refused

interface Refused {
  readonly status: 400 | 403 | 404 | 422
  /** Quotes nothing of the request. */
  readonly reason: string
}

export interface AddCheckpointDeps {
  /** The keys each log may sign with, by origin. */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>
  readonly store: Pick<HeadStore, 'latest' | 'advance'>
  /** Heads that were contradicted and have been reported for it: once is enough, however often somebody repeats it. */
  readonly contradicted: WeakSet<Head>
  readonly key: CosigningKey
  readonly clock: Clock
  readonly log: Log
}

/**
 * The protocol of a witness: cosigns a checkpoint that is signed by its log and extends everything this witness has cosigned of
 * it, once that is durable. So all it ever cosigned of a log lies on one history, whatever order requests come in.
 * `body` is attacker-controlled.
 * @throws BrokerFault `ledger_unavailable` when the head could not be kept; then nothing was cosigned
 * @see https://c2sp.org/tlog-witness
 */
export async function addCheckpoint(body: Uint8Array, deps: AddCheckpointDeps): Promise<Answer> {
  const submitted = admit(body, deps.logs)
  return 'reason' in submitted ? submitted : judge(submitted, deps)
}

/** A checkpoint that its log has signed, and what came with it. */
interface Submitted extends Checkpoint, SplitNote {
  readonly from: number
  readonly proof: Proof
}

function admit(body: Uint8Array, logs: AddCheckpointDeps['logs']): Submitted | Refused {
  try {
    const { from, proof, note } = parseAddCheckpoint(body)
    const [origin = ''] = note.split('\n', 1)
    const keys = logs.get(origin)
    if (keys === undefined) return { status: 404, reason: 'this log is not known here' }
    const signed = signedBy(keys, note)
    if (signed === undefined) return { status: 403, reason: 'no key of this log made a valid signature' }
    return { from, proof, ...parseCheckpoint(signed.text), ...signed }
  } catch (error) {
    if (error instanceof NoteError) return { status: 400, reason: error.message }
    throw error
  }
}

/** The note with one signature of each key that made one; nothing when none did, or one that claims to be by a key is not. */
function signedBy(keys: readonly VerifierKey[], note: string): SplitNote | undefined {
  try {
    const split = splitNote(note)
    const verified = verifySignatures(split, keys)
    const signatures = keys.flatMap((key) => verified.find((signature) => signature.key === key) ?? [])
    return signatures.length === 0 ? undefined : { text: split.text, signatures }
  } catch (error) {
    if (error instanceof NoteError) return undefined
    throw error
  }
}

async function judge(next: Submitted, deps: AddCheckpointDeps): Promise<Answer> {
  const { origin, from, size, root, text, signatures } = next
  const { store, key, clock } = deps
  const head = store.latest(origin)
  if (from > size) return { status: 400, reason: 'the old size is greater than that of the checkpoint' }
  if (from !== (head?.size ?? 0)) return { status: 409, size: head?.size ?? 0 }
  const flaw = flawOf(next, head)
  if (flaw !== undefined) {
    if (head !== undefined && size === head.size && Buffer.compare(root, head.root) !== 0) report(next, head, deps)
    return { status: 422, reason: flaw }
  }
  const cosignature = key.cosign(text, clock.now())
  const note = formatNote({ text, signatures: [...signatures, cosignature] })
  const answer = { status: 200, cosignature: formatSignature(cosignature) } as const
  // Within one second the same checkpoint gets the same bytes, so that whoever repeats a request causes no write.
  if (note === head?.note || (await store.advance(origin, from, { size, root, note }))) return answer
  return { status: 409, size: store.latest(origin)?.size ?? 0 }
}

/** The log signed two trees of one size: the two notes prove that it did. Any other flaw may be a stranger's doing. */
function report(next: Submitted, head: Head, { contradicted, log }: AddCheckpointDeps): void {
  if (contradicted.has(head)) return
  contradicted.add(head)
  const { origin, size } = next
  log.error({ origin, size, cosigned: head.note, refused: formatNote(next) }, 'witness.two_histories')
}

/** What keeps a checkpoint from being one, or from extending the newest head. */
function flawOf(next: Submitted, head: Head | undefined): string | undefined {
  if (next.size === 0 && Buffer.compare(next.root, emptyRoot) !== 0) return 'the root is not that of an empty tree'
  if (head === undefined || head.size === 0) return next.proof.length === 0 ? undefined : 'the proof is too long'
  try {
    verifyConsistency(head, next, next.proof)
    return undefined
  } catch (error) {
    if (error instanceof ProofError) return error.message
    throw error
  }
}
