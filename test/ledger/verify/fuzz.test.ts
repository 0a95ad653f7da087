import { cp, mkdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { NoteError } from '../../../src/ledger/log/note.ts'
import { SourceError } from '../../../src/ledger/source/tile-source.ts'
import type { VerifyReport } from '../../../src/ledger/verify/check.ts'
import { StateError } from '../../../src/ledger/verify/verify-state.ts'
import { loadedEntry, stampedEntry } from '../../support/entries.ts'
import { withFolder } from '../../support/ledger.ts'
import { smallEntries, verifyDir } from '../../support/log-folder.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'
import { tileLog } from '../../support/tile-log.ts'

const entries = [...smallEntries(514), stampedEntry(loadedEntry, 514)]
const signed = entries.slice(0, 513)
const covered = tileLog(signed).files
const paths = [
  ...[...covered.keys()].sort(),
  'segments/00000000000000000000.log',
  'segments/00000000000000000400.log',
  'checkpoint.uncosigned',
  'tile/entries/003',
  'tile/2/000.p/1',
]

/** The report, or `undefined` when the log cannot be read. Any other error fails the test. */
async function judge(dir: string, stateFile?: string): Promise<VerifyReport | undefined> {
  try {
    return await verifyDir(dir, stateFile === undefined ? {} : { stateFile })
  } catch (error) {
    if (error instanceof SourceError || error instanceof NoteError || error instanceof StateError) return undefined
    throw error
  }
}

type Mutation =
  | { readonly do: 'flip'; readonly path: string; readonly at: number; readonly bit: number }
  | { readonly do: 'cut' | 'fill'; readonly path: string; readonly at: number }
  | { readonly do: 'delete'; readonly path: string }
  | { readonly do: 'swap' | 'copy'; readonly path: string; readonly with: string }
  | { readonly do: 'part'; readonly path: string; readonly at: number; readonly to: number; readonly length: number }
  | { readonly do: 'bytes'; readonly path: string; readonly bytes: Uint8Array }

const path = fc.constantFrom(...paths)
const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ do: fc.constant('flip' as const), path, at: place, bit: fc.nat(7) }),
  fc.record({ do: fc.constantFrom('cut' as const, 'fill' as const), path, at: place }),
  fc.record({ do: fc.constant('delete' as const), path }),
  fc.record({ do: fc.constantFrom('swap' as const, 'copy' as const), path, with: path }),
  fc.record({ do: fc.constant('part' as const), path, at: place, to: place, length: fc.integer({ min: 1, max: 64 }) }),
  fc.record({ do: fc.constant('bytes' as const), path, bytes: fc.uint8Array({ maxLength: 400 }) }),
)

const read = (file: string): Promise<Buffer> => readFile(file).catch(() => Buffer.alloc(0))

async function mutate(dir: string, change: Mutation): Promise<void> {
  const file = join(dir, change.path)
  await mkdir(dirname(file), { recursive: true })
  const bytes = await read(file)
  const offset = (share: number): number => Math.floor(share * bytes.length)
  switch (change.do) {
    case 'flip':
      bytes[offset(change.at)] = (bytes[offset(change.at)] ?? 0) ^ (1 << change.bit)
      return writeFile(file, bytes)
    case 'cut':
      return writeFile(file, bytes.subarray(0, offset(change.at)))
    case 'fill':
      return writeFile(file, bytes.fill(0, offset(change.at)))
    case 'delete':
      return unlink(file).catch(() => {})
    case 'part': {
      // A piece of the file once more, somewhere else in it.
      const piece = bytes.subarray(offset(change.at), offset(change.at) + change.length)
      const to = offset(change.to)
      return writeFile(file, Buffer.concat([bytes.subarray(0, to), piece, bytes.subarray(to)]))
    }
    case 'bytes':
      return writeFile(file, change.bytes)
    default: {
      const other = join(dir, change.with)
      await mkdir(dirname(other), { recursive: true })
      const theirs = await read(other)
      await writeFile(file, theirs)
      if (change.do === 'swap') await writeFile(other, bytes)
    }
  }
}

/** Whether everything that the checkpoint covers is byte for byte as it was. */
async function intact(dir: string): Promise<boolean> {
  for (const [path, bytes] of covered) if (!bytes.equals(await read(join(dir, path)))) return false
  return true
}

let sound = ''
let done = (): void => {}
beforeAll(
  () =>
    new Promise<void>((ready, failed) => {
      withFolder(async (dir) => {
        await writeRawLedger(dir, signed, { unsigned: entries.slice(513), segments: [0, 400] })
        sound = dir
        ready()
        await new Promise<void>((resolve) => {
          done = resolve
        })
      }).catch(failed)
    }),
)
afterAll(() => done())

describe('whatever a folder holds', () => {
  it('is sound to begin with', async () => expect(await judge(sound)).toMatchObject({ ok: true, unsigned: 2 }))

  it(
    'the verifier answers, and never says ok unless everything covered is as it was',
    () =>
      withFolder(async (folder) => {
        const dir = join(folder, 'log')
        let accepted = 0
        await fc.assert(
          fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
            await rm(dir, { recursive: true, force: true })
            await cp(sound, dir, { recursive: true })
            for (const change of mutations) await mutate(dir, change)
            const report = await judge(dir)
            if (report?.ok) {
              accepted++
              expect(await intact(dir)).toBe(true)
            }
            if (report !== undefined) {
              expect(report.ok).toBe(report.problemCount === 0)
              expect(report.problems.length).toBe(Math.min(100, report.problemCount))
            }
          }),
          { numRuns: 250 },
        )
        // What stands outside of what is covered may change: a test that could not tell would pass on refusing everything.
        expect(accepted).toBeGreaterThan(0)
      }),
    120_000,
  )

  it('of arbitrary bytes as any of its files is never accepted', () =>
    withFolder(async (folder) => {
      const dir = join(folder, 'log')
      await fc.assert(
        fc.asyncProperty(fc.dictionary(path, fc.uint8Array({ maxLength: 600 }), { minKeys: 1 }), async (files) => {
          await rm(dir, { recursive: true, force: true })
          for (const [path, bytes] of Object.entries(files)) {
            await mkdir(dirname(join(dir, path)), { recursive: true })
            await writeFile(join(dir, path), bytes)
          }
          expect((await judge(dir))?.ok ?? false).toBe(false)
        }),
        { numRuns: 100 },
      )
    }))

  it('under a sound checkpoint, whatever its entries are, is answered for', () =>
    withFolder(async (folder) => {
      const dir = join(folder, 'log')
      const payload = fc.oneof(
        fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
        fc.json().map((text) => Buffer.from(text)),
        fc.integer({ min: 1, max: 30_000 }).map((deep) => Buffer.from('['.repeat(deep) + ']'.repeat(deep))),
        fc.constantFrom(...entries.slice(0, 9)).map((text) => Buffer.from(text)),
      )
      await fc.assert(
        fc.asyncProperty(fc.array(payload, { maxLength: 12 }), async (payloads) => {
          await rm(dir, { recursive: true, force: true })
          const bytes = [entries[0] ?? '', ...payloads]
          await writeRawLedger(dir, bytes)
          const ours = bytes.map((each) => entries.indexOf(each.toString()))
          const sound = ours.every((index, i) => index >= 0 && index >= (ours[i - 1] ?? 0))
          expect((await judge(dir))?.ok).toBe(sound)
        }),
        { numRuns: 60 },
      )
    }))
})

describe('whatever a state file holds', () => {
  it('a sound log is verified or the state refused, and one that is not sound is never accepted', () =>
    withFolder(async (folder) => {
      const dir = join(folder, 'log')
      await cp(sound, dir, { recursive: true })
      const stateFile = join(folder, 'state')
      const stop = new AbortController()
      const onProgress = (): void => stop.abort(new Error('enough'))
      const interrupted = verifyDir(dir, { stateFile, signal: stop.signal, onProgress })
      await expect(interrupted).rejects.toThrow('enough')
      const kept = await readFile(stateFile)
      await rename(join(dir, 'tile/entries/001'), join(folder, 'bundle'))
      await fc.assert(
        fc.asyncProperty(place, fc.uint8Array({ maxLength: 3 }), place, async (at, bytes, cut) => {
          const [from, to] = [at, Math.min(1, at + cut / 100)].map((share) => Math.floor(share * kept.length))
          await writeFile(stateFile, Buffer.concat([kept.subarray(0, from), bytes, kept.subarray(to)]))
          expect((await judge(dir, stateFile))?.ok ?? false).toBe(false)
        }),
        { numRuns: 100 },
      )
    }))
})
