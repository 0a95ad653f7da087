import { BrokerFault, messageOf } from '../../base/errors.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { leafHash } from './merkle.ts'
import { decodeBase64, NoteError, openNote, splitNote, type VerifierKey } from './note.ts'
import { inclusionProof, type Proof, ProofError, verifyInclusion } from './proof.ts'
import type { PublishedLog } from './published.ts'
import { createSubtrees } from './subtrees.ts'
import { hashBytes, type TileId, tilePath } from './tile.ts'

/** The offline proof that one entry stands in a log: its place, the way from there to the root, and the signed root. */
export interface Receipt {
  readonly index: number
  readonly proof: Proof
  /** A signed note, verbatim. */
  readonly checkpoint: string
  /** Nothing vouches for it, and writ writes none. */
  readonly extra?: Uint8Array
}

/** A receipt that is malformed or does not prove what it should. The message says why. */
export class ReceiptError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'ReceiptError'
  }
}

const header = 'c2sp.org/tlog-proof@v1'
/** A checkpoint may be half of it. */
const maxReceiptLength = 1024 * 1024
/** As many as a tree of 2^53 entries is high. */
const maxHashes = 53

/** The text of a receipt. @see https://c2sp.org/tlog-proof */
export function formatReceipt({ index, proof, checkpoint, extra }: Receipt): string {
  const lines = [
    header,
    ...(extra === undefined ? [] : [`extra ${base64(extra)}`]),
    `index ${index}`,
    ...proof.map(base64),
  ]
  return `${lines.join('\n')}\n\n${checkpoint}`
}

/**
 * Reads the text of a receipt; nothing of it is verified, and its checkpoint is not looked at. Attacker-controlled input: its size is
 * bounded. Strict: what is read is exactly what `formatReceipt` writes.
 * @throws ReceiptError
 */
export function parseReceipt(text: string): Receipt {
  if (text.length > maxReceiptLength)
    throw new ReceiptError(`a receipt is not larger than ${maxReceiptLength} characters`)
  const end = text.indexOf('\n\n')
  if (end < 0) throw new ReceiptError('a receipt has an empty line before its checkpoint')
  const [first, ...lines] = text.slice(0, end).split('\n')
  if (first !== header) throw new ReceiptError(`a receipt begins with ${header}`)
  const [, extra] = /^extra (.*)$/.exec(lines[0] ?? '') ?? []
  if (extra !== undefined) lines.shift()
  const [, index] = /^index (0|[1-9]\d{0,15})$/.exec(lines.shift() ?? '') ?? []
  if (index === undefined || !Number.isSafeInteger(Number(index))) {
    throw new ReceiptError('a receipt has a line with its index, a decimal number without leading zeros')
  }
  if (lines.length > maxHashes) throw new ReceiptError(`a receipt has at most ${maxHashes} hashes`)
  return refusing(() => ({
    index: Number(index),
    proof: lines.map(readHash),
    checkpoint: text.slice(end + 2),
    ...(extra !== undefined && { extra: decodeBase64(extra) }),
  }))
}

/**
 * The receipt of an entry under the newest checkpoint. It was checked against the tiles it was made from, so it holds for the entry
 * whose hash they have.
 * @throws RangeError when that checkpoint does not cover the entry; BrokerFault `ledger_unavailable` when a tile cannot be read or
 * does not lead to the signed root.
 */
export async function createReceipt(
  log: Pick<PublishedLog, 'checkpoint' | 'signedSize' | 'tile'>,
  index: number,
): Promise<string> {
  const checkpoint = log.checkpoint()
  if (!Number.isSafeInteger(index) || index < 0 || index >= log.signedSize()) {
    throw new RangeError(`the newest checkpoint does not cover an entry ${index}`)
  }
  try {
    return await proveEntry({ checkpoint, index, tile: (id) => log.tile(id) })
  } catch (cause) {
    const message = `there is no receipt for entry ${index}: ${messageOf(cause)}`
    throw new BrokerFault('ledger_unavailable', message, { cause })
  }
}

/**
 * The receipt of an entry under a checkpoint, from the tiles of any log. The signatures of the checkpoint are not looked at; but what
 * comes back was checked against its root, so it holds for the entry whose hash the tiles have.
 * @throws NoteError, ProofError or TileError when the log is not what its checkpoint says; whatever `tile` throws.
 */
export async function proveEntry(of: {
  readonly checkpoint: string
  readonly index: number
  readonly tile: (id: TileId) => Promise<Uint8Array | undefined>
}): Promise<string> {
  const { checkpoint, index, tile } = of
  const { size, root } = unverifiedHead(checkpoint)
  const subtrees = createSubtrees(size, async (id) => {
    const bytes = await tile(id)
    if (bytes === undefined) throw new ProofError(`${tilePath(id)} is missing`)
    return bytes
  })
  const proof = await inclusionProof(subtrees, index, size)
  verifyInclusion({ index, leafHash: await subtrees.root(index, index + 1), size, root }, proof)
  return formatReceipt({ index, proof, checkpoint })
}

/** What a receipt proves. */
interface Proven {
  readonly index: number
  readonly checkpoint: Checkpoint
}

/**
 * Checks offline that an entry stands in the log of one of the keys: the checkpoint is signed by a key that is named after its origin,
 * and the proof leads from these bytes, at that index, to its root.
 * @throws ReceiptError
 */
export function verifyReceipt(of: {
  readonly receipt: string
  /** Canonical JSON of the entry, byte for byte as it was recorded. */
  readonly entry: Uint8Array
  readonly keys: readonly VerifierKey[]
}): Proven {
  const { checkpoint: note } = parseReceipt(of.receipt)
  const { text, verifiedBy } = refusing(() => openNote(note, of.keys))
  const { origin } = refusing(() => parseCheckpoint(text))
  if (!verifiedBy.includes(origin)) {
    throw new ReceiptError(`its checkpoint is of the log ${origin}, and ${verifiedBy.join(', ')} signed it`)
  }
  return checkIncluded(of)
}

/**
 * Checks that a receipt includes an entry, and not who signed its checkpoint: by itself it proves nothing to anybody who
 * does not trust whoever gave it.
 * @throws ReceiptError
 */
export function checkIncluded(of: { readonly receipt: string; readonly entry: Uint8Array }): Proven {
  const { index, proof, checkpoint: note } = parseReceipt(of.receipt)
  return refusing(() => {
    const checkpoint = unverifiedHead(note)
    const { size, root } = checkpoint
    verifyInclusion({ index, leafHash: leafHash(of.entry), size, root }, proof)
    return { index, checkpoint }
  })
}

/** The tree head in a note whose signatures nobody has verified. @throws NoteError */
export function unverifiedHead(note: string): Checkpoint {
  return parseCheckpoint(splitNote(note).text)
}

/** Runs checks of what is inside a receipt: what they refuse, the receipt is refused for. */
function refusing<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (error instanceof NoteError) throw new ReceiptError(error.message, { cause: error })
    if (error instanceof ProofError) {
      throw new ReceiptError(`it is not a proof of this entry: ${error.message}`, { cause: error })
    }
    throw error
  }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

function readHash(line: string): Buffer {
  const hash = decodeBase64(line)
  if (hash.length !== hashBytes) throw new ReceiptError(`a hash in a receipt is ${hashBytes} bytes`)
  return hash
}
