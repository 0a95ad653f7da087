import { cp, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Secret } from '../../src/base/secret.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { baoAvailable } from '../support/bao.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

/**
 * Any order of what people, time and accidents do to a broker, against a model of a few lines. After each step the grants that
 * live are those of the model, for the broker, for Vault, and for PostgreSQL.
 */

const minuteMs = 60_000
/** Real time passes beside the clock that the test moves; nothing may be so close to its end that this decides. */
const slackMs = 20_000

const holders = {
  checkout: { purpose: 'read-orders', active: 3, maxMs: 60 * minuteMs, role: 'orders-ro', needsTask: false },
  'coding-agent': { purpose: 'fix-bug', active: 3, maxMs: 60 * minuteMs, role: 'orders-rw-staging', needsTask: true },
} as const
type Holder = keyof typeof holders

interface ModelGrant {
  readonly holder: Holder
  readonly secret: unknown
  readonly task: string | undefined
  /** When no renewal reaches any further: the ceilings count from the issuance. */
  readonly latestMs: number
  endsMs: number
  live: boolean
}

interface Model {
  readonly grants: Map<string, ModelGrant>
  readonly tasks: Map<string, { readonly endsMs: number; open: boolean }>
  /** Purposes that the policies have at the moment. */
  readonly allowed: Record<Holder, boolean>
}

interface Real {
  readonly world: World
  readonly clock: ReturnType<typeof shiftedClock>
}

const live = (model: Model, holder?: Holder) =>
  [...model.grants].filter(([, grant]) => grant.live && (holder === undefined || grant.holder === holder))
const openTasks = (model: Model) => [...model.tasks].filter(([, task]) => task.open)
const pick = <T>(from: readonly T[], nth: number): T | undefined => from[nth % Math.max(1, from.length)]

/** What time and the death of a task do, in the model. */
function settle(model: Model, nowMs: number): void {
  const worked = model.allowed['coding-agent']
  for (const task of model.tasks.values()) if (task.endsMs <= nowMs || !worked) task.open = false
  for (const grant of model.grants.values()) {
    const task = grant.task === undefined ? undefined : model.tasks.get(grant.task)
    if (grant.endsMs <= nowMs || task?.open === false || !model.allowed[grant.holder]) grant.live = false
  }
}

/** Moves time on, and a little further where something would end within moments of now. */
function passTime(model: Model, clock: Real['clock'], ms: number): void {
  clock.shift(ms)
  const ends = [...model.grants.values(), ...model.tasks.values()].map(({ endsMs }) => endsMs)
  while (ends.some((end) => Math.abs(end - clock.now()) < slackMs)) clock.shift(2 * slackMs)
}

async function agree(model: Model, { world, clock }: Real): Promise<void> {
  passTime(model, clock, 0)
  settle(model, clock.now())
  const expected = live(model)
    .map(([id]) => id)
    .sort()
  const held = async (): Promise<string[]> => {
    const { body } = await world.api('GET', '/v1/grants?status=live&limit=500', { as: 'dana@security' })
    return [...(body.grants as readonly { grant: string }[])].map(({ grant }) => grant).sort()
  }
  const same = async () => (JSON.stringify(await held()) === JSON.stringify(expected) ? true : undefined)
  await eventually(same, 'the broker holds what the model holds').catch(async () =>
    expect(await held()).toEqual(expected),
  )
  for (const [holder, { role }] of Object.entries(holders)) {
    expect(await world.leases(role), role).toHaveLength(live(model, holder as Holder).length)
  }
  for (const { secret, live: alive } of [...model.grants.values()].slice(-4)) {
    if (alive) expect(await world.login(secret)).toBe('in')
    else expect(await world.login(secret)).toMatch(/^28/)
  }
}

type Step = fc.AsyncCommand<Model, Real>

/** A step, then the comparison. */
function step(name: string, run: (model: Model, real: Real) => Promise<void>): Step {
  return {
    check: () => true,
    async run(model, real) {
      passTime(model, real.clock, 0)
      settle(model, real.clock.now())
      await run(model, real)
      await agree(model, real)
    },
    toString: () => name,
  }
}

const openTask = fc.integer({ min: 3, max: 120 }).map((minutes) =>
  step(`open a task for ${minutes} min`, async (model, { world, clock }) => {
    const body = { purpose: 'fix-bug', intent: 'Find out why totals are wrong', ttl: `${minutes}m` }
    const { status, body: task } = await world.api('POST', '/v1/tasks', { as: 'coding-agent', body })
    if (!model.allowed['coding-agent']) return void expect(status).toBe(403)
    expect(status).toBe(201)
    model.tasks.set(String(task.task), { endsMs: clock.now() + minutes * minuteMs, open: true })
  }),
)

const issue = fc
  .record({
    holder: fc.constantFrom<Holder>('checkout', 'coding-agent'),
    minutes: fc.integer({ min: 2, max: 90 }),
    nth: fc.nat(7),
  })
  .map(({ holder, minutes, nth }) =>
    step(`issue to ${holder} for ${minutes} min`, async (model, { world, clock }) => {
      const { purpose, active, maxMs, needsTask } = holders[holder]
      const [task, { endsMs: taskEndsMs }] = (needsTask ? pick(openTasks(model), nth) : undefined) ?? [
        undefined,
        { endsMs: Number.POSITIVE_INFINITY },
      ]
      const request = { purpose, ttl: `${minutes}m`, ...(task === undefined ? {} : { task }) }
      const before = clock.now()
      const { status, body } = await world.issue(holder, request)
      if (!model.allowed[holder] || (needsTask && task === undefined))
        return void expect(status, JSON.stringify(body)).toBe(403)
      if (live(model, holder).length >= active) return void expect(status).toBe(429)
      expect(status, JSON.stringify(body)).toBe(201)
      const endsMs = Date.parse(String(body.expires_at))
      expect(endsMs).toBeLessThanOrEqual(clock.now() + Math.min(minutes * minuteMs, maxMs) + 1_000)
      expect(endsMs).toBeLessThanOrEqual(taskEndsMs + 2_000)
      const latestMs = Math.min(before + maxMs, taskEndsMs)
      model.grants.set(String(body.grant), { holder, secret: body.secret, task, latestMs, endsMs, live: true })
    }),
  )

const renew = fc.record({ nth: fc.nat(7), minutes: fc.integer({ min: 2, max: 90 }) }).map(({ nth, minutes }) =>
  step(`renew for ${minutes} min`, async (model, { world }) => {
    const [id, grant] = pick([...model.grants], nth) ?? []
    if (id === undefined || grant === undefined) return
    const { holder } = grant
    const answer = await world.api('POST', `/v1/grants/${id}/renew`, { as: holder, body: { ttl: `${minutes}m` } })
    // What ended more than an hour ago is the ledger's alone.
    if (!grant.live) return void expect([404, 409]).toContain(answer.status)
    expect(answer.status, answer.text).toBe(200)
    const endsMs = Date.parse(String(answer.body.expires_at))
    expect(endsMs, 'a renewal never shortens').toBeGreaterThanOrEqual(grant.endsMs - 1_000)
    expect(endsMs, 'nor goes past what bounds the grant').toBeLessThanOrEqual(grant.latestMs + 3_000)
    grant.endsMs = endsMs
  }),
)

const end = fc.record({ nth: fc.nat(7), by: fc.constantFrom('holder', 'owner') }).map(({ nth, by }) =>
  step(`end a grant by its ${by}`, async (model, { world }) => {
    const [id, grant] = pick([...model.grants], nth) ?? []
    if (id === undefined || grant === undefined) return
    const as = by === 'owner' ? 'alice@payments' : grant.holder
    const { status } = await world.api('POST', `/v1/grants/${id}/revoke`, { as, body: {} })
    expect(grant.live ? [200] : [200, 404]).toContain(status)
    grant.live = false
  }),
)

const endTask = fc.nat(7).map((nth) =>
  step('end a task', async (model, { world }) => {
    const [id, task] = pick(openTasks(model), nth) ?? []
    if (id === undefined || task === undefined) return
    const { status, body } = await world.api('POST', `/v1/tasks/${id}/end`, { as: 'coding-agent', body: {} })
    expect(status).toBe(200)
    expect(body.grants).toHaveLength(live(model).filter(([, grant]) => grant.task === id).length)
    task.open = false
    settle(model, 0)
  }),
)

const pull = fc.constantFrom<Holder>('checkout', 'coding-agent').map((holder) =>
  step(`pull the switch on ${holder}`, async (model, { world }) => {
    const body = { match: { workload: holder }, reason: 'drill' }
    const { status } = await world.api('POST', '/v1/revocations', { as: 'dana@security', body })
    expect(status).toBe(200)
    for (const [, grant] of live(model, holder)) grant.live = false
    // Work that is to stop ends with what it holds.
    if (holder === 'coding-agent') for (const [, task] of openTasks(model)) task.open = false
  }),
)

const pass = fc
  .integer({ min: 1, max: 100 })
  .map((minutes) => step(`${minutes} min pass`, async (model, { clock }) => passTime(model, clock, minutes * minuteMs)))

const restart = fc.constant(step('restart', async (_, { world }) => world.restart()))

/** The folder as a kill leaves it, nothing said goodbye: memory is gone, what was written stays. */
const crash = fc.constant(
  step('crash', async (_, { world }) => {
    const { dir } = world.ledger
    await copyAsOfOneMoment(dir, `${dir}.crashed`)
    await world.stopBroker()
    await rm(dir, { recursive: true })
    await rename(`${dir}.crashed`, dir)
    await world.restart()
  }),
)

/** A checkpoint may be published meanwhile; the copy is taken again until nothing was. */
async function copyAsOfOneMoment(from: string, to: string): Promise<void> {
  const look = async () => {
    const files = (await readdir(from, { recursive: true, withFileTypes: true })).filter((found) => found.isFile())
    const told = files.map(async ({ parentPath, name }) => {
      const { mtimeMs, size } = await stat(join(parentPath, name))
      return `${join(parentPath, name)} ${size} ${mtimeMs}`
    })
    return (await Promise.all(told)).sort().join('\n')
  }
  await eventually(async () => {
    await rm(to, { recursive: true, force: true })
    const before = await look()
    await cp(from, to, { recursive: true })
    return before === (await look()) ? true : undefined
  }, 'a moment in which nothing is written')
}

const kept = new Map<Holder, string>()
const editPolicy = fc.constantFrom<Holder>('checkout', 'coding-agent').map((holder) =>
  step(`take away or give back the purpose of ${holder}`, async (model, { world }) => {
    model.allowed[holder] = !model.allowed[holder]
    await setPurpose(world, holder, model.allowed[holder])
  }),
)

/** Without its purpose a workload stays, with a purpose that opens nothing else. */
async function setPurpose(world: World, holder: Holder, there: boolean): Promise<void> {
  const { purpose } = holders[holder]
  const file = `workloads/${holder}.yaml`
  await world.policies.edit(file, (text) => {
    if (!kept.has(holder)) kept.set(holder, text)
    const whole = kept.get(holder) ?? text
    return there ? whole : whole.replace(`id: ${purpose}`, `id: ${purpose}-retired`)
  })
  const { status } = await world.api('POST', '/v1/policies/reload', { as: 'dana@security', body: {} })
  expect(status).toBe(200)
}

for (const vault of ['embedded', 'bao-dev'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`a broker over ${vault}, whatever happens to it`, () => {
    const clock = shiftedClock()
    let world: World
    let root = new Secret('')
    beforeAll(async () => {
      world = await startWorld({
        vault,
        clock,
        // Its renewal goes by real timers, so the broker's own token must outlast the hours that the test lets pass.
        async prepare({ vault }) {
          root = new Secret(vault.token)
        },
        config: (config) => ({ ...config, vault: { ...config.vault, auth: { method: 'token', token: root } } }),
        async policies({ edit }) {
          await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 3'))
          await edit('workloads/coding-agent.yaml', (text) =>
            // The model knows deadlines; heartbeats have tests of their own.
            text.replace('active: 3, per_minute: 10', 'active: 3').replace(/heartbeat: .*/, ''),
          )
        },
      })
    })
    afterAll(() => world?.stop())

    it('holds, in Vault and PostgreSQL too, what a model of a few lines holds', { timeout: 600_000 }, async () => {
      const steps = [
        issue,
        issue,
        issue,
        renew,
        renew,
        end,
        openTask,
        openTask,
        endTask,
        pull,
        restart,
        crash,
        editPolicy,
      ]
      const some = fc.oneof(...(vault === 'embedded' ? [...steps, pass, pass] : steps))
      let most = 0
      await fc.assert(
        fc.asyncProperty(fc.array(some, { minLength: 30, maxLength: 40 }), async (commands) => {
          const model = await blank(world)
          await fc.asyncModelRun(async () => ({ model, real: { world, clock } }), commands)
          most = Math.max(most, model.grants.size)
        }),
        { numRuns: vault === 'embedded' ? 10 : 4, endOnFailure: true },
      )
      // Else nothing was tried.
      expect(most).toBeGreaterThan(3)
      const { dir, vkey } = world.ledger
      await world.stopBroker()
      expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, problems: [] })
    })
  })
}

/** A world in which nobody holds anything and every purpose is there. */
async function blank(world: World): Promise<Model> {
  for (const holder of Object.keys(holders) as Holder[]) {
    const file = kept.get(holder)
    if (file !== undefined) await setPurpose(world, holder, true).catch(() => {})
    const body = { match: { workload: holder }, reason: 'a new beginning' }
    expect((await world.api('POST', '/v1/revocations', { as: 'dana@security', body })).status).toBe(200)
  }
  return { grants: new Map(), tasks: new Map(), allowed: { checkout: true, 'coding-agent': true } }
}
