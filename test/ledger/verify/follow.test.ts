import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { FileLedger } from '../../../src/ledger/store/file.ts'
import { createFollower, type Follower } from '../../../src/ledger/verify/follow.ts'
import { eventually } from '../../support/child.ts'
import { type FakeClock, fakeClock } from '../../support/clock.ts'
import { numberedEntry } from '../../support/entries.ts'
import { collect, openTestLedger, published, withFolder } from '../../support/ledger.ts'

const oldest = async (dir: string): Promise<number> =>
  Number((await readdir(join(dir, 'segments'))).sort()[0]?.slice(0, 20))

async function grow(ledger: FileLedger, clock: FakeClock, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, n) => ledger.append(numberedEntry(n))))
  await published(ledger, clock)
}

async function all(follower: Follower): Promise<(readonly [number, string, unknown])[]> {
  const seen: (readonly [number, string, unknown])[] = []
  for (;;) {
    const next = await follower.next()
    if (next.length === 0) return seen
    seen.push(...next.map(({ index, leafHash, entry }) => [index, leafHash, entry] as const))
  }
}

describe('reading along', () => {
  it('gives every entry once, from bundles where segments went, also when they go while it is behind', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, segmentBytes: 15_000 })
      await grow(ledger, clock, 50)
      const early = createFollower(dir)
      const seen = [...(await early.next()).map(({ index, leafHash, entry }) => [index, leafHash, entry] as const)]
      expect(seen.length).toBeGreaterThan(0)
      for (let i = 0; i < 8; i++) await grow(ledger, clock, 100)
      await eventually(async () => (await oldest(dir)) > 300 || undefined, 'that segments have gone')
      const entries = (await collect(ledger.read(0))).map(({ index, leafHash, entry }) => [index, leafHash, entry])
      expect(entries).toHaveLength(850)
      expect(await all(createFollower(dir))).toEqual(entries)
      expect([...seen, ...(await all(early))]).toEqual(entries)
      await grow(ledger, clock, 30)
      expect((await all(early)).map(([index]) => index)).toEqual(Array.from({ length: 30 }, (_, n) => 850 + n))
      await ledger.close()
      // As `writ ledger archive` moves them.
      await rename(join(dir, 'tile/entries/000'), join(dir, 'moved'))
      expect((await all(createFollower(dir)))[0]?.[0]).toBe(256)
    }))
})
