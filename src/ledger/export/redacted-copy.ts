import { randomBytes } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { canonicalJson } from '../canonical.ts'
import { createTree, leafHash } from '../log/merkle.ts'
import type { SigningKey } from '../log/note.ts'
import { tilesBetween } from '../log/tile.ts'
import { makeFolder, nodeDisk, replaceFile, syncFolder } from '../store/disk.ts'
import { createTileFiles } from '../store/tile-files.ts'
import { createGrowingTiles } from '../store/tiles.ts'
import { knownEntry, readRow } from './entry-row.ts'
import type { LogEntry } from './proved-log.ts'
import { createRedactor, namesKeyId, type Redactor, transformVersion } from './redact.ts'
import { type Manifest, manifestName, signManifest } from './redaction.ts'
import type { ExportSource } from './source.ts'

type OnProgress = (entries: number) => void

/**
 * Writes a copy of a log in which every name and text is hashed: a folder of tiles, and a manifest in place of a checkpoint. The folder
 * appears under its name whole and durable, or not at all.
 * @throws EntryError for an entry of a kind that this version cannot redact; UnprovedError; what `onProgress` throws
 */
export async function writeRedactedCopy(options: {
  readonly source: ExportSource
  readonly namesKey: Uint8Array
  /** The key that signs the ledger. */
  readonly key: SigningKey
  /** Must not exist yet. */
  readonly dir: string
  readonly onProgress?: OnProgress
}): Promise<Manifest> {
  const { source, namesKey, key, onProgress } = options
  const dir = resolve(options.dir)
  const temporary = `${dir}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
  await makeFolder(nodeDisk, temporary)
  try {
    const files = createTileFiles(nodeDisk, temporary)
    const tiles = createGrowingTiles()
    const redact = createRedactor(namesKey)
    for await (const entries of source.entries(0)) {
      for (const entry of entries) {
        const bytes = redactedBytes(redact, entry)
        tiles.append(bytes, leafHash(bytes))
      }
      const full = tiles.takeFull()
      await files.write(full)
      tiles.written(full)
      onProgress?.(tiles.size)
    }
    await files.write(tiles.partial())
    await files.sync(tilesBetween(0, tiles.size))
    const manifest: Manifest = {
      origin: source.head.origin,
      size: tiles.size,
      sourceRoot: source.head.root,
      root: tiles.root(),
      transform: transformVersion,
      namesKeyId: namesKeyId(namesKey),
    }
    await replaceFile(nodeDisk, join(temporary, manifestName), Buffer.from(signManifest(manifest, key)), 0o600)
    await rename(temporary, dir)
    await syncFolder(nodeDisk, dirname(dir))
    return manifest
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error
  }
}

/**
 * What shows that a redacted copy is not the documented transform of that log under that names key; `undefined` when it is. The log may
 * have grown since.
 * @throws EntryError, UnprovedError as the two are read; what `onProgress` throws
 */
export async function findRedactionFault(options: {
  readonly copy: ExportSource
  readonly manifest: Manifest
  readonly original: ExportSource
  readonly namesKey: Uint8Array
  readonly onProgress?: OnProgress
}): Promise<string | undefined> {
  const { copy, manifest, original, namesKey, onProgress } = options
  if (manifest.transform !== transformVersion) return `it was made by rules of version ${manifest.transform}`
  if (manifest.namesKeyId !== namesKeyId(namesKey)) return 'it was made with another names key'
  if (manifest.origin !== original.head.origin)
    return `it is of ${manifest.origin}, and this is ${original.head.origin}`
  const redact = createRedactor(namesKey)
  const tree = createTree()
  const sources = original.entries(0)
  for await (const entries of copy.entries(0)) {
    const { value: beside = [] } = await sources.next()
    for (const [i, { index, bytes }] of entries.entries()) {
      const source = beside[i]
      if (source === undefined) return `it holds ${manifest.size} entries, and the log ${index}`
      if (!redactedBytes(redact, source).equals(bytes)) return `entry ${index} is not what the rules make of it`
      tree.append(Buffer.from(source.leafHash, 'hex'))
    }
    onProgress?.(tree.size)
  }
  const sameRoot = Buffer.compare(tree.root(), manifest.sourceRoot) === 0
  return sameRoot ? undefined : `the first ${manifest.size} entries of the log are not those it was made from`
}

const redactedBytes = (redact: Redactor, entry: LogEntry): Buffer =>
  Buffer.from(canonicalJson(redact(knownEntry(readRow(entry)))))
