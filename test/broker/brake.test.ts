import fc from 'fast-check'
import { expect, test } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { type Brake, createBrake } from '../../src/broker/brake.ts'
import { createOpenEntries } from '../../src/grants/open-entries.ts'
import { byBroker } from '../../src/grants/provenance.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { fakeClock } from '../support/clock.ts'
import { openTestLedger, withFolder } from '../support/ledger.ts'

const limits = { percent: 20, least: 10 }
const digests = ['a', 'b', 'c'].map((letter) => letter.repeat(64))
const by = byBroker('test')

test('holds back what is both many and a large share, and nothing for a set that was accepted', async () => {
  await withFolder(async (dir) => {
    const ledger = await openTestLedger(dir)
    const brake = createBrake({ limits, ledger, clock: fakeClock(), log: silentLog })
    ledger.subscribe(brake.see)
    const [digest = ''] = digests
    expect(brake.holdsBack(digest, 9, 9)).toBe(false)
    expect(brake.holdsBack(digest, 10, 50)).toBe(false)
    expect(brake.holdsBack(digest, 11, 50)).toBe(true)
    await brake.accept(digest, 11, by)
    expect(brake.holdsBack(digest, 11, 50)).toBe(false)
    expect(brake.holdsBack('b'.repeat(64), 11, 50)).toBe(true)
    await ledger.close()
  })
})

const step = fc.oneof(
  fc.record({ type: fc.constant('load' as const), digest: fc.constantFrom(...digests) }),
  fc.record({ type: fc.constantFrom('hold', 'release', 'accept', 'restart' as const) }),
)

test('a restart knows from the few entries it reads what the whole record says: what is held, what was accepted', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), (steps) =>
      withFolder(async (dir) => {
        const ledger = await openTestLedger(dir)
        const open = createOpenEntries({ usedUntilMs: () => undefined, now: () => 0 })
        ledger.subscribe(open.see)
        let live = follow(ledger)
        let [digest = ''] = digests
        let held: string | undefined
        const hold = async (brake: Brake): Promise<void> => {
          const { size } = ledger.head()
          await brake.hold({ digest, live: 20, would_end: 20, reasons: [] })
          // A hold that is on record is not recorded again.
          expect(ledger.head().size - size).toBe(held === digest ? 0 : 2)
          held = digest
        }
        const load = () => ledger.append({ ...by, kind: 'policy.loaded', policy: digest, workloads: 1, warnings: 0 })
        await load()
        for (const each of steps) {
          if (each.type === 'load') digest = each.digest
          if (each.type === 'load' || each.type === 'restart') await load()
          if (each.type === 'hold') await hold(live)
          if (each.type === 'release') {
            await live.release()
            held = undefined
          }
          if (each.type === 'accept') await live.accept(digest, 20, by)
          if (each.type !== 'restart') continue
          const again = follow(ledger)
          for await (const stored of ledger.pick([...open.list()])) again.see(stored)
          for (const one of digests) expect(again.holdsBack(one, 20, 20)).toBe(live.holdsBack(one, 20, 20))
          live = again
        }
        await ledger.close()
      }),
    ),
    { numRuns: 40 },
  )
})

function follow(ledger: FileLedger): Brake {
  const brake = createBrake({ limits, ledger, clock: fakeClock(), log: silentLog })
  ledger.subscribe(brake.see)
  return brake
}
