import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import { type EntryBody, entrySchema } from '../../src/ledger/entry.ts'
import type { Ledger, StoredEntry } from '../../src/ledger/ledger.ts'
import { intentEntry, numberedEntry } from '../support/entries.ts'
import { collect } from '../support/ledger.ts'
import { naiveRoot } from '../support/naive-tree.ts'

/** One adapter under test. */
export interface LedgerFixture {
  /** Opens the same ledger again each time it is called. */
  open(): Promise<Ledger>
  /** Ends the newest ledger without closing it, as a crash of the process would. */
  crash(): Promise<void>
  /** Makes the next write of the open ledger fail. */
  breakWrites(): void
  dispose(): Promise<void>
}

const leafOf = ({ entry }: StoredEntry): Buffer => Buffer.from(canonicalJson(entry))

/** What every adapter of the ledger port promises. */
export function ledgerContract(adapter: string, createFixture: () => Promise<LedgerFixture>): void {
  const withFixture = async (use: (fixture: LedgerFixture) => Promise<void>): Promise<void> => {
    const fixture = await createFixture()
    try {
      await use(fixture)
    } finally {
      await fixture.dispose()
    }
  }

  describe(`ledger contract: ${adapter}`, () => {
    it('is empty at first, with the root of the empty tree', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        expect(ledger.head()).toEqual({ size: 0, root: naiveRoot([]).toString('hex') })
        expect(await collect(ledger.read(0))).toEqual([])
        expect(await ledger.get(0)).toBeUndefined()
        await ledger.close()
      }))

    it('numbers entries from 0 without gaps, in the order of the calls, and stamps them', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        const positions = await Promise.all([0, 1, 2, 3].map((n) => ledger.append(intentEntry(n))))
        expect(positions.map(({ index }) => index)).toEqual([0, 1, 2, 3])
        const entries = await collect(ledger.read(0))
        expect(entries.map(({ entry }) => entry.grant)).toEqual([0, 1, 2, 3].map((n) => intentEntry(n).grant))
        for (const { entry } of entries) {
          expect(entry.v).toBe(1)
          expect(entry.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        }
        await ledger.close()
      }))

    it('takes 1,000 appends at once and keeps each exactly once, in order', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        const bodies = Array.from({ length: 1000 }, (_, n) => numberedEntry(n))
        const positions = await Promise.all(bodies.map((body) => ledger.append(body)))
        expect(positions.map(({ index }) => index)).toEqual(bodies.map((_, n) => n))
        const entries = await collect(ledger.read(0))
        expect(entries.map(({ entry }) => ({ ...entry, v: undefined, time: undefined }))).toEqual(
          bodies.map((body) => ({ ...body, v: undefined, time: undefined })),
        )
        expect(entries.map(({ leafHash }) => leafHash)).toEqual(positions.map(({ leafHash }) => leafHash))
        await ledger.close()
      }))

    it('has the RFC 6962 root over the canonical bytes of its entries, at every size', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        for (let n = 0; n < 20; n++) {
          await ledger.append(numberedEntry(n))
          const leaves = (await collect(ledger.read(0))).map(leafOf)
          expect(ledger.head()).toEqual({ size: n + 1, root: naiveRoot(leaves).toString('hex') })
        }
        await ledger.close()
      }))

    it('reads from any index, and gets any single entry', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        await Promise.all(Array.from({ length: 50 }, (_, n) => ledger.append(numberedEntry(n))))
        const all = await collect(ledger.read(0))
        for (const from of [0, 1, 25, 49]) expect(await collect(ledger.read(from))).toEqual(all.slice(from))
        expect(await collect(ledger.read(50))).toEqual([])
        expect(await ledger.get(31)).toEqual(all[31])
        for (const none of [-1, 50, 1.5, Number.NaN]) expect(await ledger.get(none)).toBeUndefined()
        await ledger.close()
      }))

    it('keeps every entry, and the root, when it is closed and opened again', () =>
      withFixture(async ({ open }) => {
        const first = await open()
        await Promise.all(Array.from({ length: 100 }, (_, n) => first.append(numberedEntry(n))))
        const [before, head] = [await collect(first.read(0)), first.head()]
        await first.close()
        const second = await open()
        expect(await collect(second.read(0))).toEqual(before)
        expect(second.head()).toEqual(head)
        expect((await second.append(numberedEntry(100))).index).toBe(100)
        await second.close()
      }))

    it('keeps every acknowledged entry over a crash', () =>
      withFixture(async ({ open, crash }) => {
        const first = await open()
        const positions = await Promise.all(Array.from({ length: 30 }, (_, n) => first.append(numberedEntry(n))))
        await crash()
        const second = await open()
        const entries = await collect(second.read(0))
        expect(entries.slice(0, 30).map(({ leafHash }) => leafHash)).toEqual(positions.map(({ leafHash }) => leafHash))
        await second.close()
      }))

    it('tells subscribers of each durable entry once, in order, until they stop', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        const heard: StoredEntry[] = []
        const stop = ledger.subscribe((stored) => heard.push(stored))
        ledger.subscribe(() => {
          throw new Error('a listener of no consequence')
        })
        await Promise.all(Array.from({ length: 40 }, (_, n) => ledger.append(numberedEntry(n))))
        stop()
        await ledger.append(numberedEntry(40))
        expect(heard).toEqual((await collect(ledger.read(0))).slice(0, 40))
        await ledger.close()
      }))

    it('refuses what the schema has no field for, and goes on', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        const secret: EntryBody = Object.assign(intentEntry(1), { secret: 'hvs.CANARY' })
        const fault = await ledger.append(secret).catch((error: unknown) => error)
        expect(fault).toMatchObject({ name: 'BrokerFault', code: 'internal' })
        expect(JSON.stringify(fault) + String(fault)).not.toContain('CANARY')
        const position = await ledger.append(intentEntry(2))
        expect(position.index).toBe(0)
        expect(entrySchema.parse((await ledger.get(0))?.entry).grant).toBe(intentEntry(2).grant)
        await ledger.close()
      }))

    it('after a failed write rejects what waits and what comes, and says so', () =>
      withFixture(async ({ open, breakWrites }) => {
        const ledger = await open()
        await ledger.append(numberedEntry(0))
        breakWrites()
        const unavailable = { name: 'BrokerFault', code: 'ledger_unavailable' }
        const waiting = [1, 2, 3].map((n) => ledger.append(numberedEntry(n)))
        for (const append of waiting) await expect(append).rejects.toMatchObject(unavailable)
        await expect(ledger.append(numberedEntry(4))).rejects.toMatchObject(unavailable)
        expect(await ledger.failed).toBeInstanceOf(Error)
        expect(ledger.head().size).toBe(1)
        await ledger.close()
      }))

    it('takes nothing once closed, and closing twice is harmless', () =>
      withFixture(async ({ open }) => {
        const ledger = await open()
        const last = ledger.append(numberedEntry(0))
        await ledger.close()
        await ledger.close()
        expect((await last).index).toBe(0)
        await expect(ledger.append(numberedEntry(1))).rejects.toMatchObject({ code: 'ledger_unavailable' })
      }))
  })
}
