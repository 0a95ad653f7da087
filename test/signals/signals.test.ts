import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { newId, type RequestId } from '../../src/base/ids.ts'
import { subjectEvents } from '../../src/contract/signal.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import type { PolicySet } from '../../src/policy/policy-set.ts'
import { loadSet } from '../policy/organisation.ts'
import { eventually } from '../support/child.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { by } from '../support/grants.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'
import { checkoutSub, clusterUrl, edit, signalsStage, signSet, withHub } from './stage.ts'

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())

let clock: FakeClock
let ledger: FileLedger
let set: PolicySet
let leave: () => void
beforeEach(async () => {
  clock = fakeClock()
  set = await loadSet(withHub(issuer))
  // The folder lasts for one test.
  await new Promise<void>((ready, failed) => {
    void withFolder(async (dir) => {
      ledger = await openTestLedger(dir, { clock })
      await new Promise<void>((left) => {
        leave = left
        ready()
      })
      await ledger.close()
    }).catch(failed)
  })
})
afterEach(() => leave())

const stageOf = () => signalsStage(ledger, clock, () => set)
const request = (): RequestId => newId('rq', clock.now())
const entries = async (kind: string) =>
  (await collect(ledger.read(0))).map(({ entry }) => entry).filter((entry) => entry.kind === kind)
const about = (event: keyof typeof subjectEvents, sub: string, payload: object = {}) => ({
  sub_id: { format: 'iss_sub', iss: clusterUrl, sub },
  events: { [subjectEvents[event]]: payload },
})
/** Lets time pass until what a signal began is over. */
async function settled(stage: ReturnType<typeof stageOf>): Promise<void> {
  let over = false
  const stopped = stage.signals.stop().finally(() => {
    over = true
  })
  while (!over) await clock.advance(50)
  await stopped
}

test('a task of the workload ends with what hangs on it; what was opened after the event does not', async () => {
  const stage = stageOf()
  const open = async () => {
    const at = { workload: 'checkout', owner: 'payments', purpose: 'read', environment: 'prod', intent: 'x' }
    const task = await stage.tasks.open({ ...at, expiresAtMs: clock.now() + 3_600_000 }, by)
    if (!task.ok) throw new Error(task.refusal.code)
    return task.value
  }
  const before = await open()
  const held = await stage.issue({ task: before.id })
  const eventAt = Math.floor(clock.now() / 1000)
  await clock.advance(5_000)
  const [after, spared] = [await open(), await stage.issue()]
  const text = await signSet(issuer, clock, about('session-revoked', checkoutSub, { event_timestamp: eventAt }))
  expect(await stage.signals.receive(text, request())).toMatchObject({ ok: true })
  await settled(stage)
  expect(await stage.registry.get(held.grant.id)).toMatchObject({ status: 'ended', cause: 'signal' })
  expect(await stage.tasks.get(before.id)).toMatchObject({ status: 'ended' })
  expect(await stage.registry.get(spared.grant.id)).toMatchObject({ status: 'active' })
  expect(await stage.tasks.get(after.id)).toMatchObject({ status: 'open' })
  expect(await entries('task.ended')).toMatchObject([{ cause: 'signal', task: before.id }])
  expect(await entries('grant.ending')).toMatchObject([{ cause: 'signal', reason: 'session-revoked' }])
  expect(stage.counted).toEqual(['session-revoked received'])
  expect(await entries('signal.received')).toMatchObject([{ workload: 'checkout', owner: 'payments', matched: 1 }])
})

test('one that Vault does not let go of keeps the others no longer, and is tried again', async () => {
  const stage = stageOf()
  const [first, second] = [await stage.issue(), await stage.issue()]
  stage.script.revokeFaults.push(...Array.from({ length: 3 }, () => new Error('sealed')))
  const text = await signSet(issuer, clock, about('account-disabled', checkoutSub))
  expect(await stage.signals.receive(text, request())).toMatchObject({ ok: true })
  await settled(stage)
  const states = await Promise.all(
    [first, second].map(async ({ grant }) => (await stage.registry.get(grant.id))?.status),
  )
  expect(states.every((status) => status === 'ended' || status === 'ending')).toBe(true)
})

test('what was on record when the broker died is carried out by the next', async () => {
  const first = stageOf()
  const held = await first.issue()
  await clock.advance(2_000)
  // As if the process had ended between the record and the revocation.
  await ledger.append({
    kind: 'signal.received',
    actor: { type: 'broker', reason: 'signal' },
    source: 'hub',
    signal: 'account-disabled',
    matched: 1,
    issuer: 'cluster-eu',
    subject: checkoutSub,
    effect: 'disabled',
    event_time: new Date(clock.now()).toISOString(),
  })
  const second = stageOf()
  await second.registry.restore(held.grant)
  const at = { workload: 'checkout', owner: 'payments', purpose: 'read', environment: 'prod', intent: 'x' }
  const idle = await second.tasks.open({ ...at, expiresAtMs: clock.now() + 3_600_000 }, by)
  if (!idle.ok) throw new Error(idle.refusal.code)
  for await (const stored of ledger.read(0)) {
    second.findings.see(stored)
    await second.signals.recall(stored)
  }
  const identity = { issuer: 'cluster-eu', subject: checkoutSub, issuedAtMs: clock.now(), claims: { iat: 1 } }
  expect(await second.signals.check(identity)).toMatchObject({ ok: false, refusal: { code: 'account_disabled' } })
  second.signals.start()
  await settled(second)
  expect(await second.registry.get(held.grant.id)).toMatchObject({ status: 'ended', cause: 'signal' })
  expect(await second.tasks.get(idle.value.id)).toMatchObject({ status: 'ended' })
})

test('a signal that was received before a restart is a replay after it, until it is too old anyway', async () => {
  const first = stageOf()
  const text = await signSet(issuer, clock)
  expect(await first.signals.receive(text, request())).toMatchObject({ ok: true })
  await settled(first)
  const second = stageOf()
  for await (const stored of ledger.read(0)) {
    second.findings.see(stored)
    await second.signals.recall(stored)
  }
  expect(await second.signals.receive(text, request())).toMatchObject({
    ok: false,
    refusal: { code: 'token_replayed' },
  })
  await clock.advance(59 * 60_000)
  expect(await second.signals.receive(text, request())).toMatchObject({
    ok: false,
    refusal: { code: 'token_replayed' },
  })
  await clock.advance(3 * 60_000)
  expect(await second.signals.receive(text, request())).toMatchObject({ ok: false, refusal: { code: 'token_too_old' } })
  expect(await entries('request.denied')).toHaveLength(3)
})

test('the ladder revokes once the grace is over, and not before', async () => {
  set = await loadSet(
    withHub(issuer, '', edit('teams.yaml', 'name: payments', 'name: payments\nleavers: { grace: 10m }')),
  )
  const stage = stageOf()
  ledger.subscribe(stage.signals.see)
  const held = await stage.issue()
  stage.signals.start()
  for (const person of ['alice', 'bob']) {
    expect(
      await stage.signals.receive(await signSet(issuer, clock, about('account-purged', person)), request()),
    ).toMatchObject({ ok: true })
  }
  expect(stage.signals.hasLeft('cluster-eu/alice')).toBe(true)
  expect(stage.signals.unanswered(set, 'checkout')).toBeUndefined()
  const told = async () =>
    (await entries('finding.opened')).filter((entry) => 'severity' in entry && entry.severity === 'critical')
  const toldTimes = (times: number) =>
    eventually(async () => {
      await clock.advance(500)
      return (await told()).length === times ? true : undefined
    }, `told ${times} times`)
  await toldTimes(1)
  // A team that is given longer is told the new deadline.
  set = await loadSet(
    withHub(issuer, '', edit('teams.yaml', 'name: payments', 'name: payments\nleavers: { grace: 12m }')),
  )
  const deadlineMs = clock.now() + 11 * 60_000
  await toldTimes(2)
  while (clock.now() < deadlineMs) await clock.advance(30_000)
  expect(await stage.registry.get(held.grant.id)).toMatchObject({ status: 'active' })
  await clock.advance(90_000)
  expect(stage.signals.unanswered(set, 'checkout')).toMatchObject({ code: 'owner_missing' })
  await eventually(async () => {
    await clock.advance(1_000)
    return (await stage.registry.get(held.grant.id))?.status === 'ended' ? true : undefined
  }, 'the grace is over')
  await settled(stage)
  expect(await stage.registry.get(held.grant.id)).toMatchObject({ status: 'ended', cause: 'owner_left' })
  const named = { finding: 'owner-left-checkout', workload: 'checkout', owner: 'payments' }
  expect(await told()).toMatchObject([named, named])
})
