import * as node from 'node:fs/promises'
import { dirname } from 'node:path'

/** An open file as the ledger uses it: every access names its position. */
export interface DiskFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>
  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }>
  datasync(): Promise<void>
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  stat(): Promise<{ readonly size: number; readonly mode: number }>
  close(): Promise<void>
}

/** The file system as the ledger uses it, so that tests can make each single operation fail. */
export interface Disk {
  open(path: string, flags: string, mode?: number): Promise<DiskFile>
  mkdir(path: string, options: { readonly recursive: true; readonly mode: number }): Promise<unknown>
  readdir(path: string): Promise<string[]>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  rmdir(path: string): Promise<void>
}

/** The machine's file system. */
export const nodeDisk: Disk = node

/** Runs `use` and closes the file whatever comes of it. */
export async function closingAfter<T>(file: DiskFile, use: () => Promise<T>): Promise<T> {
  try {
    return await use()
  } finally {
    await file.close()
  }
}

/** Makes creations and renames in a folder durable. */
export async function syncFolder(disk: Disk, path: string): Promise<void> {
  const folder = await disk.open(path, 'r')
  await closingAfter(folder, () => folder.sync())
}

/** Makes a folder that only the owner can enter, durably: each created level is synced into its parent. */
export async function makeFolder(disk: Disk, path: string): Promise<void> {
  const first = await disk.mkdir(path, { recursive: true, mode: 0o700 })
  if (typeof first !== 'string') return
  for (let level = path; ; level = dirname(level)) {
    await syncFolder(disk, dirname(level))
    if (level === first || level === dirname(level)) return
  }
}

/** Writes all of `bytes` at a position, however many calls the system needs. */
export async function writeAll(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    if (bytesWritten <= 0) throw new Error('the disk took no bytes')
    done += bytesWritten
  }
}

/** Where that many bytes are read to. */
export type Memory = (bytes: number) => Buffer

/**
 * Memory that is used again with each call, for who is done with what was read before. Buffers are outside the heap: V8 starts
 * to mark the heap for every few MiB of new ones, and everything waits some 8 ms for that.
 */
export function reusedMemory(): Memory {
  let kept = Buffer.alloc(0)
  return (bytes) => {
    if (bytes > maxReusedBytes) return Buffer.allocUnsafe(bytes)
    if (bytes > kept.length) kept = Buffer.allocUnsafe(Math.min(maxReusedBytes, bytes * 2))
    return kept.subarray(0, bytes)
  }
}

const maxReusedBytes = 1024 * 1024

/** Reads up to `length` bytes; fewer only at the end of the file. */
export async function readUpTo(
  file: DiskFile,
  length: number,
  position: number,
  memory: Memory = Buffer.allocUnsafe,
): Promise<Buffer> {
  const buffer = memory(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return buffer.subarray(0, done)
}

/** A small file as bytes, or `undefined` when there is none. */
export async function readSmallFile(
  disk: Disk,
  path: string,
  maxBytes: number,
  memory?: Memory,
): Promise<Buffer | undefined> {
  let file: DiskFile
  try {
    file = await disk.open(path, 'r')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
  return closingAfter(file, async () => {
    const { size } = await file.stat()
    if (size > maxBytes) throw new Error(`${path} is larger than ${maxBytes} bytes`)
    return readUpTo(file, size, 0, memory)
  })
}

/** Replaces a file so that a reader, or a crash, sees either the old bytes or the new ones, and the new ones last. */
export async function replaceFile(disk: Disk, path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const temporary = `${path}.tmp`
  const file = await disk.open(temporary, 'w', mode)
  await closingAfter(file, async () => {
    await writeAll(file, bytes, 0)
    await file.sync()
  })
  await disk.rename(temporary, path)
  await syncFolder(disk, dirname(path))
}

/** Whether something thrown is a system error with one of those codes. */
export function isCode(thrown: unknown, ...codes: readonly string[]): boolean {
  return thrown instanceof Error && 'code' in thrown && codes.some((code) => thrown.code === code)
}
