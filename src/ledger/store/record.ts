import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { maxEntryBytes } from '../log/tile.ts'

/**
 * One record of a segment: a 16-byte frame and the canonical JSON of the entry.
 *
 *     0   u32 BE  CRC-32 (ISO 3309) of everything after it
 *     4   u32 BE  bytes of JSON
 *     8   u48 BE  index of the first entry of the batch this record was written in
 *     14  u8      0, reserved
 *     15  u8      0, the RFC 6962 leaf prefix: the leaf hash is SHA-256 of the bytes from here to the end
 *     16  …       the JSON
 *
 * A batch is written only after the one before it is durable. So a bad record followed by a sound one of a *later* batch
 * was damaged after it was acknowledged, while a bad record followed by nothing, or by the rest of its own batch, is a
 * write that a crash cut short and nobody was told about.
 */
export const frameBytes = 16
const prefixAt = 15

/** Greatest size of a record. */
export const maxRecordBytes: number = frameBytes + maxEntryBytes

/** A sound record found at `start` of a buffer. */
export interface FoundRecord {
  readonly end: number
  readonly batch: number
}

/** Writes the frame for `bytes` of JSON that already stand at `start + frameBytes`. */
export function writeFrame(buffer: Buffer, start: number, bytes: number, batch: number): void {
  buffer.writeUInt32BE(bytes, start + 4)
  buffer.writeUIntBE(batch, start + 8, 6)
  buffer[start + 14] = 0
  buffer[start + prefixAt] = 0
  buffer.writeUInt32BE(crc32(buffer.subarray(start + 4, start + frameBytes + bytes)), start)
}

/** The record at `start`, or `undefined` when the bytes there are not a whole and sound record. */
export function readFrame(buffer: Buffer, start: number): FoundRecord | undefined {
  if (start + frameBytes > buffer.length || buffer[start + 14] !== 0 || buffer[start + prefixAt] !== 0) return undefined
  const bytes = buffer.readUInt32BE(start + 4)
  const end = start + frameBytes + bytes
  if (bytes === 0 || bytes > maxEntryBytes || end > buffer.length) return undefined
  if (crc32(buffer.subarray(start + 4, end)) !== buffer.readUInt32BE(start)) return undefined
  return { end, batch: buffer.readUIntBE(start + 8, 6) }
}

/** RFC 6962 leaf hash, in hexadecimal, of the record between `start` and `end`. */
export function recordLeaf(buffer: Buffer, start: number, end: number): string {
  return hash('sha256', buffer.subarray(start + prefixAt, end), 'hex')
}

/** The JSON of the record between `start` and `end`. */
export function recordText(buffer: Buffer, start: number, end: number): string {
  return buffer.toString('utf8', start + frameBytes, end)
}
