import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AmbiguousMint, VaultFault } from '../../src/engines/faults.ts'
import { replay } from '../../src/grants/replay.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { by, grantsStage, scriptedEngine } from '../support/grants.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'

/** What may happen at any moment: before a round, after Vault made its list, or while a lease is looked up. */
const steps = fc.array(
  fc.constantFrom(
    'issue',
    'issue',
    'begin',
    'finish',
    'end',
    'outside',
    'stray',
    'lose',
    'listFails',
    'lookUpFails',
    'wait',
  ),
  { maxLength: 4 },
)
const moments = fc.record({
  before: steps,
  listed: steps,
  lookedUp: fc.array(steps, { maxLength: 3 }),
  restart: fc.boolean(),
})

/** Vault, the broker and everybody else who touches Vault, in any order. */
function createModel(ledger: FileLedger, clock: FakeClock) {
  const scripted = scriptedEngine(clock)
  const { script } = scripted
  let stage = grantsStage(ledger, clock, scripted)
  /** Leases that somebody else ended. */
  const endedOutside = new Set<string>()
  let hold = false
  /** Mints that Vault has carried out and not answered. */
  let held: { readonly answer: () => void; readonly minted: Promise<unknown> }[] = []
  let answerHeld = (): void => {}
  /** What will come to an end by itself. */
  const underWay: Promise<unknown>[] = []
  const answer = (mints: typeof held): void => {
    for (const each of mints) {
      underWay.push(each.minted)
      each.answer()
    }
  }
  let strays = 0
  script.beforeAnswer = async () => {
    if (!hold) return
    hold = false
    await new Promise<void>((resolve) => {
      answerHeld = resolve
    })
  }

  async function passTime(running: Promise<unknown>, each: (ticks: number) => void = () => {}): Promise<void> {
    let over = false
    const done = running.finally(() => {
      over = true
    })
    done.catch(() => {})
    for (let ticks = 0; !over; ticks++) {
      // Little, or a disk that is slow would let the grants expire.
      await clock.advance(1)
      each(ticks)
    }
    await done
  }

  /** One after the other: looks at leases run side by side, and what happens beside one must not be taken for another's. */
  let turn: Promise<void> = Promise.resolve()
  function play(step: string): Promise<void> {
    turn = turn.then(() => act(step))
    return turn
  }

  async function act(step: string): Promise<void> {
    switch (step) {
      case 'issue':
        await stage.issue()
        return
      case 'begin': {
        const grant = await stage.intend()
        hold = true
        const minted = stage.mint(grant).catch(() => {})
        // Its lease is in Vault, and the broker does not know it yet.
        while (hold) await new Promise<void>((resolve) => setImmediate(resolve))
        held.push({ answer: answerHeld, minted })
        return
      }
      case 'finish':
        answer(held.splice(0, 1))
        return
      case 'end': {
        const [grant] = (await stage.registry.find(['live'], { limit: 100 })).filter(
          ({ status }) => status === 'active',
        )
        if (grant !== undefined) underWay.push(stage.ender.end(grant, { cause: 'revoked', by }).catch(() => {}))
        return
      }
      case 'outside': {
        const [id] = script.leases
        if (id === undefined) return
        script.leases.delete(id)
        endedOutside.add(id)
        return
      }
      case 'stray':
        script.leases.add(`database/creds/orders-ro/stray-${++strays}`)
        return
      case 'lose': {
        script.mintFaults.push(new AmbiguousMint(new VaultFault('timeout', 'GET database/creds/orders-ro')))
        await stage.mint(await stage.intend()).catch(() => {})
        return
      }
      case 'listFails':
        script.listFaults.push(new VaultFault('unreachable', 'no connection'))
        return
      case 'lookUpFails':
        script.lookUpFaults.push(new VaultFault('timeout', 'no answer'))
        return
      default:
        await clock.advance(1_000)
    }
  }

  return {
    script,
    endedOutside,
    play,
    get stage() {
      return stage
    },
    async round(during: { listed: readonly string[]; lookedUp: readonly (readonly string[])[] }) {
      const listed = [...during.listed]
      const lookedUp = [...during.lookedUp]
      script.afterList = async () => {
        for (const step of listed.splice(0)) await play(step)
      }
      script.beforeLookUp = async () => {
        for (const step of lookedUp.shift() ?? []) await play(step)
      }
      await passTime(stage.reconcile(), (ticks) => {
        // No mint takes longer than Vault lets a request run.
        if (ticks % 50 === 49) answer(held.splice(0))
      })
    },
    /** Whatever was under way comes to its end. */
    async settle() {
      answer(held.splice(0))
      await passTime(Promise.all(underWay.splice(0)))
    },
    /** The process is killed: a mint that it had under way is never heard of again. */
    async restart() {
      await passTime(Promise.all(underWay.splice(0)))
      held = []
      stage = grantsStage(ledger, clock, scripted)
      await replay({ ...stage, entries: ledger.read(0), clock })
    },
  }
}

/** The lease of each grant: the scripted Vault counts users and leases in step. */
async function leasesIn(ledger: FileLedger): Promise<ReadonlyMap<string, string>> {
  const leases = new Map<string, string>()
  for (const { entry } of await collect(ledger.read(0))) {
    if (entry.kind !== 'grant.issued') continue
    leases.set(String(entry.grant), `database/creds/orders-ro/${entry.ids[0]?.value.slice('v-'.length)}`)
  }
  return leases
}

test('whatever happens beside it, no live grant is ever ended and no orphan survives two rounds', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(moments, { minLength: 1, maxLength: 5 }), (script) =>
      withFolder(async (dir) => {
        const clock = fakeClock()
        const ledger = await openTestLedger(dir, { clock })
        try {
          await check(ledger, clock, script)
        } finally {
          await ledger.close()
        }
      }),
    ),
    { numRuns: 60 },
  )
}, 120_000)

async function check(
  ledger: FileLedger,
  clock: FakeClock,
  script: readonly {
    before: readonly string[]
    listed: readonly string[]
    lookedUp: readonly (readonly string[])[]
    restart: boolean
  }[],
): Promise<void> {
  const model = createModel(ledger, clock)
  for (const { before, listed, lookedUp, restart } of script) {
    for (const step of before) await model.play(step)
    await model.round({ listed, lookedUp })
    if (restart) await model.restart()
    else await model.settle()
  }
  model.script.listFaults = []
  model.script.lookUpFaults = []
  await model.settle()
  for (let i = 0; i < 2; i++) await model.round({ listed: [], lookedUp: [] })

  const leases = await leasesIn(ledger)
  for (const { entry } of await collect(ledger.read(0))) {
    if (entry.kind !== 'grant.ended' || entry.cause !== 'found_gone') continue
    expect(model.endedOutside.has(leases.get(String(entry.grant)) ?? '')).toBe(true)
  }
  const live = await model.stage.registry.find(['live'], { limit: 1_000 })
  const active = live.filter(({ status }) => status === 'active')
  expect(new Set(active.map(({ id }) => leases.get(id)))).toEqual(model.script.leases)
}
