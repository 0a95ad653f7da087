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
import type { Grant } from '../../src/grants/grant.ts'
import { replay } from '../../src/grants/replay.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { access, by, grantsStage, scriptedEngine } from '../support/grants.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'

/** What goes wrong with one part: Vault refuses, or does not say; its entry cannot be written; somebody ends it; it is not wanted. */
const fate = fc.constantFrom('well', 'well', 'refused', 'unknown', 'unrecorded', 'ended', 'unwanted')
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

async function run(folder: string, fates: Several<string>, misses: number, crash: boolean): Promise<void> {
  const clock = fakeClock()
  const ledger: FileLedger = await openTestLedger(folder, { clock })
  try {
    const unrecorded = new Set<string>()
    const failing = {
      ...ledger,
      append: (body: EntryBody) =>
        body.kind === 'grant.issued' && unrecorded.has(body.grant ?? '')
          ? Promise.reject(new BrokerFault('ledger_unavailable'))
          : ledger.append(body),
    }
    const scripted = scriptedEngine(clock)
    const stage = grantsStage(failing, clock, scripted)
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
          ...scripted.engine,
          async mint(order) {
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
      const obtained = await together.mint(parts, by)
      for (const { grant } of obtained)
        if (fateOf.get(grant.id) === 'ended') await stage.ender.end(grant, { cause: 'revoked', by })
      stage.script.revokeFaults.push(
        ...Array.from({ length: misses }, () => new VaultFault('unreachable', 'no connection to Vault')),
      )
      return (await together.stillWanted({ by } as Entered, obtained)).ok
    }
    const settled = passing(
      clock,
      issue().catch(() => false),
    )
    const whole = await settled
    expect(whole).toBe(fates.every((one) => one === 'well'))

    // Either this process goes on with what is left, or one that knows the record alone.
    const next = crash ? grantsStage(ledger, clock, scripted) : stage
    unrecorded.clear()
    if (crash) await replay({ ...next, entries: ledger.read(0), clock })
    for (let round = 0; round < 4; round++) {
      await clock.advance(125_000)
      await passing(clock, next.sweep.once())
    }
    const grants = await Promise.all(each(parts, ({ grant }) => next.registry.get(grant.id)))
    const live = grants.filter((grant): grant is Grant => grant !== undefined && grant.status !== 'ended')
    expect(live).toHaveLength(whole ? fates.length : 0)
    expect(scripted.script.leases.size).toBe(live.length)
    const kinds = (await collect(ledger.read(0))).map(({ entry }) => entry.kind)
    expect(kinds.filter((kind) => kind === 'composite.issued')).toHaveLength(whole ? 1 : 0)
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
    fc.asyncProperty(fc.array(fate, { minLength: 2, maxLength: 6 }), missed, fc.boolean(), (fates, misses, crash) =>
      withFolder((folder) => run(folder, fates as unknown as Several<string>, misses, crash)),
    ),
    { numRuns: 60 },
  )
}, 120_000)
