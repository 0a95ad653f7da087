import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { ok, refuse } from '../../src/base/result.ts'
import { each, eachSoon, type Several } from '../../src/base/several.ts'
import { createComposite } from '../../src/broker/composite.ts'
import type { Entered } from '../../src/broker/desk.ts'
import type { Wanted } from '../../src/broker/wanted.ts'
import { AmbiguousMint, VaultFault } from '../../src/engines/faults.ts'
import { replay } from '../../src/grants/replay.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { access, by, grantsStage, scriptedEngine } from '../support/grants.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'

/** What goes wrong with one part: Vault refuses, or does not say; its entry cannot be written; somebody ends it; it is not wanted. */
const fate = fc.constantFrom('well', 'well', 'refused', 'unknown', 'unrecorded', 'ended', 'unwanted')
/** Entries after which the process is killed, if it is. */
const death = fc.option(fc.integer({ min: 1, max: 16 }), { nil: undefined })
/** Revocations that Vault misses before it takes them again. */
const missed = fc.integer({ min: 0, max: 5 })

const wanted: Wanted = {
  purpose: access.purpose,
  credential: access.credential,
  ttlSeconds: undefined,
  reason: '',
  task: '',
  taskEndsAtMs: undefined,
  params: {},
  delivery: undefined,
  ip: '127.0.0.1',
}

async function run(
  folder: string,
  fates: Several<string>,
  misses: number,
  diesAfter: number | undefined,
): Promise<void> {
  const clock = fakeClock()
  const ledger: FileLedger = await openTestLedger(folder, { clock })
  try {
    const unrecorded = new Set<string>()
    let died = (): void => {}
    const death = new Promise<false>((resolve) => {
      died = () => resolve(false)
    })
    let dead = false
    let answering = true
    /** What a killed process began comes to nothing. */
    const alive = <T>(act: () => Promise<T>): Promise<T> => (dead ? new Promise<T>(() => {}) : act())
    let appended = 0
    const failing = {
      ...ledger,
      append: (body: EntryBody) =>
        alive(async () => {
          if (body.kind === 'grant.issued' && unrecorded.has(body.grant ?? ''))
            throw new BrokerFault('ledger_unavailable')
          const position = await ledger.append(body)
          // The intents of the set are on record before it begins.
          if (++appended - fates.length === diesAfter && answering) {
            dead = true
            died()
          }
          return alive(async () => position)
        }),
    }
    const scripted = scriptedEngine(clock)
    const mortal = {
      ...scripted.engine,
      revoke: (handle: Parameters<typeof scripted.engine.revoke>[0]) => alive(() => scripted.engine.revoke(handle)),
    }
    const stage = grantsStage(failing, clock, { ...scripted, engine: mortal })
    const composite = newId('cmp', clock.now())
    const fateOf = new Map<string, string>()
    const parts = await eachSoon(fates, async (one) => {
      const grant = await stage.intend({ composite })
      fateOf.set(grant.id, one)
      if (one === 'unrecorded') unrecorded.add(grant.id)
      return { grant, wanted, access, decision: { effect: 'allow', access, reasons: [], policy: '' } as const }
    })
    const together = createComposite({
      ...stage,
      ledger: failing,
      log: silentLog,
      mintDeps: {
        ...stage.mintDeps,
        engine: () => ({
          ...mortal,
          async mint(order) {
            if (dead) return new Promise(() => {})
            const one = fateOf.get(order.grant)
            if (one === 'refused') throw new VaultFault('rejected', 'no such role')
            if (one === 'unknown') {
              await scripted.engine.mint(order)
              throw new AmbiguousMint(new VaultFault('timeout', 'POST pki/issue'))
            }
            return scripted.engine.mint(order)
          },
        }),
      },
      stillWanted: async (_, grant) =>
        grant.status !== 'active' || fateOf.get(grant.id) === 'unwanted'
          ? refuse('state_conflict', 'grant.live', 'not wanted')
          : ok(undefined),
    })

    const issue = async (): Promise<boolean> => {
      const obtained = await together.mint(parts, { by })
      for (const { grant } of obtained)
        if (fateOf.get(grant.id) === 'ended') await stage.ender.end(grant, { cause: 'revoked', by })
      stage.script.revokeFaults.push(
        ...Array.from({ length: misses }, () => new VaultFault('unreachable', 'no connection to Vault')),
      )
      return (await together.stillWanted({ by } as Entered, obtained)).ok
    }
    const answered = await passing(clock, Promise.race([issue().catch(() => false), death]))
    answering = false
    if (!dead) expect(answered).toBe(fates.every((one) => one === 'well'))

    // Either this process goes on with what is left, or one that knows the record alone.
    const next = dead ? grantsStage(ledger, clock, scripted) : stage
    unrecorded.clear()
    if (dead) await replay({ ...next, entries: ledger.read(0), clock })
    for (let round = 0; round < 4; round++) {
      await clock.advance(125_000)
      await passing(clock, next.sweep.once())
    }
    const kinds = (await collect(ledger.read(0))).map(({ entry }) => entry.kind)
    const whole = kinds.filter((kind) => kind === 'composite.issued').length
    if (!dead) expect(whole).toBe(answered ? 1 : 0)
    const grants = await Promise.all(each(parts, ({ grant }) => next.registry.get(grant.id)))
    const live = grants.filter((grant) => grant !== undefined && grant.status !== 'ended')
    expect(live).toHaveLength(whole * fates.length)
    expect(scripted.script.leases.size).toBe(live.length)
  } finally {
    await ledger.close()
  }
}

/** Lets time pass until the work is done. */
async function passing<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
  let done = false
  const settled = work.finally(() => {
    done = true
  })
  while (!done) await clock.advance(5)
  return settled
}

test('whatever goes wrong with whichever parts, a set is alive as a whole or not at all, also over a crash', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fate, { minLength: 2, maxLength: 6 }), missed, death, (fates, misses, diesAfter) =>
      withFolder((folder) => run(folder, fates as unknown as Several<string>, misses, diesAfter)),
    ),
    { numRuns: 60 },
  )
}, 120_000)
