import { cp, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseTilePath } from '../../src/ledger/log/tile.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { eventually } from '../support/child.ts'
import { fakeClock } from '../support/clock.ts'
import { numberedEntry } from '../support/entries.ts'
import { faultyDisk } from '../support/faulty-disk.ts'
import { collect, openTestLedger, published, testKey, withFolder } from '../support/ledger.ts'

const { vkey } = testKey
const segmentBytes = 20_000
const sector = 512

type Damage = readonly [name: string, change: (path: string) => Promise<void>]

const fillEnd = async (path: string, byte: number): Promise<void> => {
  const bytes = await readFile(path)
  await writeFile(path, bytes.fill(byte, Math.max(0, bytes.length - sector)))
}
/** What a cut can do to a file: it is empty, it ends too early, or its last sector is not what was written. */
const damages: readonly Damage[] = [
  ['empty', (path) => truncate(path, 0)],
  ['half of it', async (path) => truncate(path, Math.floor((await stat(path)).size / 2))],
  ['a sector short', async (path) => truncate(path, Math.max(0, (await stat(path)).size - sector))],
  ['its last sector zeros', (path) => fillEnd(path, 0)],
  ['its last sector noise', (path) => fillEnd(path, 0xa5)],
]

async function filesIn(dir: string): Promise<string[]> {
  const found = await readdir(dir, { recursive: true, withFileTypes: true })
  return found
    .filter((each) => each.isFile() && each.name !== 'lock')
    .map((each) => relative(dir, join(each.parentPath, each.name)))
}

describe('a power cut', () => {
  it(
    'whatever it does to any one file, nothing is read back that was not written, and no checkpoint is contradicted',
    {
      timeout: 240_000,
    },
    () =>
      withFolder(async (folder) => {
        const dir = join(folder, 'ledger')
        const clock = fakeClock()
        let cut = false
        const ledger = await openTestLedger(dir, { clock, segmentBytes, fs: faultyDisk(() => (cut ? 'fail' : 'do')) })
        for (const count of [200, 250, 150]) {
          await Promise.all(Array.from({ length: count }, (_, n) => ledger.append(numberedEntry(n))))
          await published(ledger, clock)
        }
        const checkpoint = ledger.checkpoint()
        const signed = await collect(ledger.read(0))
        // Durable, acknowledged, and not signed for yet.
        await ledger.append(numberedEntry(7))
        const entries = await collect(ledger.read(0))
        await eventually(
          async () => (await filesIn(join(dir, 'segments'))).length < 8 || undefined,
          'that segments have gone',
        )
        cut = true
        await ledger.close()
        const firstSegment = Number((await readdir(join(dir, 'segments'))).sort()[0]?.slice(0, 20))
        expect(firstSegment).toBeGreaterThan(256)
        const outcomes = new Map<string, number>()
        for (const file of await filesIn(dir)) {
          for (const [name, change] of damages) {
            const copy = join(folder, 'copy', file.replaceAll('/', '_'), name)
            await cp(dir, copy, { recursive: true })
            await change(join(copy, file))
            const outcome = await after(copy, {
              entries: entries.length,
              signed: signed.length,
              checkpoint,
              leaves: entries,
            })
            outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
            // Tiles are not synced before their segments go, so those whose segments are still there are made again.
            const { level = 1, n = 0 } = parseTilePath(file) ?? {}
            const isRecent = (level === 'entries' || level === 0) && n * 256 >= firstSegment
            if (isRecent) expect(outcome, `${file}, ${name}`).toBe('whole')
          }
        }
        expect([...outcomes.keys()].sort()).toEqual(['refused', 'unreadable', 'unsigned entry lost', 'whole'])
      }),
  )
})

interface Known {
  readonly entries: number
  readonly signed: number
  readonly checkpoint: string
  readonly leaves: readonly { readonly leafHash: string }[]
}

/** What became of a damaged folder; fails when anything is there that was not written, or the checkpoint is contradicted. */
async function after(dir: string, known: Known): Promise<string> {
  const ledger = await openTestLedger(dir, { segmentBytes }).catch((error: unknown) => {
    expect(error).toMatchObject({ code: 'ledger_unavailable' })
    return undefined
  })
  if (ledger === undefined) return 'refused'
  const read = await collect(ledger.read(0)).catch((error: unknown) => {
    expect(error).toMatchObject({ code: 'ledger_unavailable' })
    return undefined
  })
  await ledger.close()
  const report = await verifyLedger({ dir, vkey, since: known.checkpoint })
  if (read === undefined) {
    expect(report.ok).toBe(false)
    return 'unreadable'
  }
  expect(read.slice(0, known.signed).map(({ leafHash }) => leafHash)).toEqual(
    known.leaves.slice(0, known.signed).map(({ leafHash }) => leafHash),
  )
  expect(report).toMatchObject({ problems: [], ok: true })
  const [last] = read.slice(known.signed)
  return last?.leafHash === known.leaves.at(-1)?.leafHash ? 'whole' : 'unsigned entry lost'
}
