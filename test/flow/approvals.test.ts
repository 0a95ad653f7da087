import { afterAll, beforeAll, expect, test } from 'vitest'
import { approvalListSchema, approvalSchema } from '../../src/contract/approval.ts'
import { pendingApprovalSchema } from '../../src/contract/credential.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

const clock = shiftedClock()
let world: World
beforeAll(async () => {
  world = await startWorld({
    clock,
    async policies({ edit, write }) {
      await edit('workloads/order-repair.yaml', (text) =>
        text.replace(/limits: .*/, 'limits: { active: 50, per_minute: 100 }'),
      )
      await write('workloads/ledger-repair.yaml', twoPersons)
    },
  })
})
afterAll(() => world?.stop())

const twoPersons = `
kind: Workload
name: ledger-repair
type: service
system: orders
owner: payments
backup: platform
custodian: sre
status: active
signoff: { by: alice@payments, on: 2026-11-02 }
match: { issuer: cluster-eu, claims: { sub: "system:serviceaccount:orders:ledger-repair" } }
purposes:
  - id: rewrite
    because: Rewrite totals that were computed wrongly
    environment: prod
    credentials: [orders-rw]
    ttl: { default: 10m, max: 20m }
    approval: two-person
    limits: { active: 5, per_minute: 50 }
`

let number = 0
/** A request of its own for each test: the same one twice shares its approval. */
const request = () => ({ purpose: 'break-fix', reason: `order ${++number} is half-written`, ttl: '10m' })

async function ask(body: object, as = 'order-repair'): Promise<string> {
  const asked = await world.issue(as, body)
  expect(asked.status).toBe(202)
  expect(pendingApprovalSchema.strict().safeParse(asked.body).error).toBeUndefined()
  expect(asked.body.secret).toBeUndefined()
  return asked.body.approval
}
const verdict = (as: string, approval: string, word: 'approve' | 'deny' = 'approve', reason = 'I looked at it') =>
  world.api('POST', `/v1/approvals/${approval}/${word}`, { as, body: { reason } })

test('the owner says yes, the same request collects the credential once, and the record names who answered', async () => {
  const body = request()
  const asked = await world.issue('order-repair', body)
  expect(asked.body).toEqual({
    approval: expect.stringMatching(/^ap_/),
    status: 'pending',
    approvers: ['payments'],
    expires_at: expect.any(String),
    poll: `/v1/approvals/${asked.body.approval}`,
  })
  const approval = asked.body.approval
  const early = await world.issue('order-repair', { ...body, approval })
  expect(early).toMatchObject({ status: 409, body: { code: 'state_conflict' } })

  const list = await world.api('GET', '/v1/approvals', { as: 'bob@payments' })
  expect(approvalListSchema.strict().safeParse(list.body).error).toBeUndefined()
  expect(list.body.approvals.map((each) => each.approval)).toContain(approval)

  const yes = await verdict('alice@payments', approval)
  expect(yes.status).toBe(200)
  expect(approvalSchema.strict().safeParse(yes.body).error).toBeUndefined()
  expect(yes.body).toMatchObject({ status: 'approved', approved_by: ['people/alice@payments'], reason: body.reason })

  const issued = await world.issue('order-repair', { ...body, approval })
  expect(issued.status).toBe(201)
  expect(await world.login(issued.body.secret)).toBe('in')
  const polled = await world.api('GET', `/v1/approvals/${approval}`, { as: 'order-repair' })
  expect(polled.body).toMatchObject({ status: 'used', grant: issued.body.grant })

  const again = await world.issue('order-repair', { ...body, approval })
  expect(again).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  const story = (await world.entries()).filter((entry) => entry.approval === approval)
  expect(story.map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(['approval.requested', 'approval.granted', 'approval.used', 'grant.intent', 'grant.issued']),
  )
  expect(story.find(({ kind }) => kind === 'approval.granted')).toMatchObject({
    actor: { type: 'person', subject: 'alice@payments', teams: ['payments'] },
    complete: true,
  })
})

test('of many who collect the same approval at once, one gets a credential', async () => {
  const body = request()
  const approval = await ask(body)
  await verdict('alice@payments', approval)
  const answers = await Promise.all(Array.from({ length: 6 }, () => world.issue('order-repair', { ...body, approval })))
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 403, 403, 403, 403, 403])
})

test('neither the workload, nor another team, nor an operator can approve', async () => {
  const approval = await ask(request())
  for (const as of ['carol@platform', 'erin@sre', 'dana@security', 'order-repair']) {
    const answer = await verdict(as, approval)
    expect([403, 404], as).toContain(answer.status)
  }
  const { body } = await world.api('GET', `/v1/approvals/${approval}`, { as: 'alice@payments' })
  expect(body.status).toBe('pending')
  expect((await world.api('GET', `/v1/approvals/${approval}`, { as: 'checkout' })).status).toBe(404)
})

test('an approval is worth nothing for any other request, and not spent by it', async () => {
  const body = request()
  const approval = await ask(body)
  await verdict('alice@payments', approval)
  for (const other of [{ ttl: '20m' }, { reason: 'another reason' }, { delivery: 'wrapped' }]) {
    const answer = await world.issue('order-repair', { ...body, ...other, approval })
    expect(answer, JSON.stringify(other)).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  }
  const unknown = await world.issue('order-repair', { ...body, approval: 'ap_00000000000000000000000000' })
  expect(unknown).toMatchObject({ status: 404, body: { code: 'not_found' } })
  expect((await world.issue('order-repair', { ...body, approval })).status).toBe(201)
})

test('asking again while it is pending gives the same approval; a refusal is final', async () => {
  const body = request()
  const approval = await ask(body)
  expect(await ask(body)).toBe(approval)
  expect((await verdict('bob@payments', approval, 'deny', 'not tonight')).body.status).toBe('denied')
  expect(await verdict('alice@payments', approval)).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  const collected = await world.issue('order-repair', { ...body, approval })
  expect(collected).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  expect(await ask(body)).not.toBe(approval)
})

test('two persons are two persons: the same one twice is one, and the backup team may be the second', async () => {
  const body = { purpose: 'rewrite' }
  const asked = await world.issue('ledger-repair', body)
  expect(asked).toMatchObject({ status: 202, body: { approvers: ['payments', 'platform'] } })
  const { approval } = asked.body
  expect((await verdict('alice@payments', approval)).body.status).toBe('pending')
  expect((await verdict('alice@payments', approval)).body.status).not.toBe('approved')
  expect((await world.issue('ledger-repair', { ...body, approval })).status).toBe(409)
  const second = await verdict('carol@platform', approval)
  expect(second.body).toMatchObject({
    status: 'approved',
    approved_by: ['people/alice@payments', 'people/carol@platform'],
  })
  expect((await world.issue('ledger-repair', { ...body, approval })).status).toBe(201)
  const granted = (await world.entries({ kind: 'approval.granted' })).filter((entry) => entry.approval === approval)
  expect(granted.map(({ complete }) => complete)).toEqual([false, true])
})

test('what was pending or approved before a restart still is, and what was spent stays spent', async () => {
  const [pendingRequest, approvedRequest, spentRequest] = [request(), request(), request()]
  const [pending, approved, spent] = [await ask(pendingRequest), await ask(approvedRequest), await ask(spentRequest)]
  await verdict('alice@payments', approved)
  await verdict('alice@payments', spent)
  expect((await world.issue('order-repair', { ...spentRequest, approval: spent })).status).toBe(201)
  await world.restart()
  expect((await world.api('GET', `/v1/approvals/${pending}`, { as: 'alice@payments' })).body.status).toBe('pending')
  expect((await world.issue('order-repair', { ...approvedRequest, approval: approved })).status).toBe(201)
  const again = await world.issue('order-repair', { ...spentRequest, approval: spent })
  expect(again).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
})

test('an approval that nobody collects in time is expired, by a recorded sweep', async () => {
  const body = request()
  const approval = await ask(body)
  await verdict('alice@payments', approval)
  clock.shift(3_700_000)
  const late = await world.issue('order-repair', { ...body, approval })
  expect(late).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  await eventually(async () => {
    const seen = await world.api('GET', `/v1/approvals/${approval}`, { as: 'alice@payments' })
    return seen.body.status === 'expired' ? true : undefined
  }, 'the sweep marks it expired')
  const expired = (await world.entries({ kind: 'approval.expired' })).filter((entry) => entry.approval === approval)
  expect(expired).toHaveLength(1)
})
