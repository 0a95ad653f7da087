import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { hashBytes, tileWidth } from '../log/tile.ts'
import { type Disk, type DiskFile, readSmallFile, readUpTo, writeAll } from '../store/disk.ts'

/** Bundles of entries that one file of the index covers. */
export const bundlesPerFile = 256
/** Entries that one file of the index covers. */
export const entriesPerFile: number = bundlesPerFile * tileWidth

/**
 * Which bundles hold an entry with a certain term, for the 65,536 entries from `first` on. A file is written once, whole, and
 * says itself what it covers; whoever opens one that is torn, or of another record, is told that there is none.
 *
 *     0    8       WRITIDX1
 *     8    u64 BE  first entry
 *     16   32      RFC 6962 leaf hash of the last entry
 *     48   u32 BE  number of postings
 *     52   …       postings, ascending, five bytes each: u32 BE hash of a term, u8 place of a bundle that holds it
 *     end  u32 BE  CRC-32 of everything before
 */
const magic = Buffer.from('WRITIDX1')
const headBytes = 52
const postingBytes = 5
const crcBytes = 4
/** Every entry has its terms, eight public identifiers and a lease at most. */
const maxFileBytes = headBytes + entriesPerFile * 24 * postingBytes + crcBytes

/** Postings that are looked at for one term, unless one block does not hold them all. */
const blockPostings = 512

/** The folder of the index below the folder of its ledger. */
export const indexFolder = (dir: string): string => join(dir, 'index')
const indexPath = (dir: string, first: number): string =>
  join(indexFolder(dir), `${String(first).padStart(20, '0')}.idx`)

/** What a file of the index is about. */
export interface Covered {
  /** A multiple of `entriesPerFile`. */
  readonly first: number
  /** RFC 6962 leaf hash of the last entry, hexadecimal: it tells one record from another. */
  readonly lastLeafHash: string
}

/** Terms and the bundles that hold them. */
export interface Postings {
  /** Places, from 0, of the bundles known to it. */
  readonly bundles: number
  /** Places of the bundles that may hold an entry with this term. */
  bundlesOf(termHash: number): Promise<readonly number[]>
}

/** An open file of the index. */
export interface IndexFile extends Postings {
  close(): Promise<void>
}

/**
 * Writes the file for these bundles, each given as the sorted distinct hashes of its terms. The event loop gets a turn every
 * millisecond or so. Not synced: a file that a crash tears is found out and made again.
 */
export async function writeIndexFile(
  disk: Disk,
  dir: string,
  { first, lastLeafHash }: Covered,
  bundles: readonly Uint32Array[],
): Promise<void> {
  const count = bundles.reduce((sum, hashes) => sum + hashes.length, 0)
  const bytes = Buffer.alloc(headBytes + count * postingBytes + crcBytes)
  magic.copy(bytes)
  bytes.writeBigUInt64BE(BigInt(first), 8)
  bytes.write(lastLeafHash, 16, 'hex')
  bytes.writeUInt32BE(count, 48)
  let at = headBytes
  for (const [from, to] of slicesOfHashes) {
    const postings = bundles.flatMap((hashes, place) =>
      Array.from(hashes.subarray(lowerBound(hashes, from), lowerBound(hashes, to)), (hash) => hash * 256 + place),
    )
    for (const posting of Float64Array.from(postings).sort()) at = bytes.writeUIntBE(posting, at, postingBytes)
    await nextTurn()
  }
  bytes.writeUInt32BE(crc32(bytes.subarray(0, at)), at)
  const path = indexPath(dir, first)
  const file = await disk.open(`${path}.tmp`, 'w', 0o600)
  try {
    await writeAll(file, bytes, 0)
  } finally {
    await file.close()
  }
  await disk.rename(`${path}.tmp`, path)
}

/** Hashes spread evenly, so that equal slices of their range are equal work. */
const slicesOfHashes = Array.from({ length: 32 }, (_, i) => [i * 2 ** 27, (i + 1) * 2 ** 27] as const)

/** First place in a sorted array whose value is not smaller. */
export function lowerBound(sorted: Uint32Array, value: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] ?? 0) < value) low = middle + 1
    else high = middle
  }
  return low
}

/** Opens the file for these entries; `undefined` when there is none, or none that is whole and of this record. */
export async function openIndexFile(disk: Disk, dir: string, covered: Covered): Promise<IndexFile | undefined> {
  const path = indexPath(dir, covered.first)
  const bytes = await readSmallFile(disk, path, maxFileBytes)
  if (bytes === undefined || !isSound(bytes, covered)) return undefined
  const count = bytes.readUInt32BE(48)
  const blocks = Array.from({ length: Math.ceil(count / blockPostings) }, (_, i) =>
    bytes.readUInt32BE(headBytes + i * blockPostings * postingBytes),
  )
  return indexFile(await disk.open(path, 'r'), count, Uint32Array.from(blocks))
}

function isSound(bytes: Buffer, { first, lastLeafHash }: Covered): boolean {
  const end = bytes.length - crcBytes
  return (
    end >= headBytes &&
    bytes.subarray(0, magic.length).equals(magic) &&
    bytes.readBigUInt64BE(8) === BigInt(first) &&
    bytes.toString('hex', 16, 16 + hashBytes) === lastLeafHash &&
    end === headBytes + bytes.readUInt32BE(48) * postingBytes &&
    crc32(bytes.subarray(0, end)) === bytes.readUInt32BE(end)
  )
}

/** `blocks` holds the first hash of each block; the rest stays on disk. */
function indexFile(file: DiskFile, count: number, blocks: Uint32Array): IndexFile {
  return {
    bundles: bundlesPerFile,
    async bundlesOf(termHash) {
      // The block before the first that begins with the hash may end with it.
      const from = Math.max(0, lowerBound(blocks, termHash) - 1) * blockPostings
      const to = Math.min(count, lowerBound(blocks, termHash + 1) * blockPostings)
      const length = Math.max(0, to - from) * postingBytes
      const bytes = await readUpTo(file, length, headBytes + from * postingBytes)
      if (bytes.length < length) throw new Error('a file of the index has become shorter')
      const found: number[] = []
      for (let at = 0; at < length; at += postingBytes) {
        const hash = bytes.readUInt32BE(at)
        if (hash === termHash) found.push(bytes.readUInt8(at + 4))
        else if (hash > termHash) break
      }
      return found
    },
    close: () => file.close(),
  }
}
