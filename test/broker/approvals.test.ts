import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'

const orderRepair = 'workloads/order-repair.yaml'
let world: World
let asWritten = ''
beforeAll(async () => {
  world = await startWorld({
    async policies({ edit }) {
      await edit(orderRepair, (text) => {
        asWritten = text.replace(/limits: .*/, 'limits: { active: 50, per_minute: 100 }')
        return asWritten
      })
      // One person, known to the organisation under two issuers.
      await edit('teams/payments.yaml', (text) =>
        text.replace('roles:', '  - { issuer: agents, subject: alice@payments }\nroles:'),
      )
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 100'))
    },
  })
})
afterAll(() => world?.stop())

let number = 0
const request = () => ({ purpose: 'break-fix', reason: `order ${++number} is half-written` })
const say = (as: string, approval: string, claims = {}) =>
  world.api('POST', `/v1/approvals/${approval}/approve`, { as, claims, body: { reason: 'I looked' } })

async function ask(body: object): Promise<string> {
  const asked = await world.issue('order-repair', body)
  expect(asked.status, asked.text).toBe(202)
  return asked.body.approval
}

/** Puts other policies in force, as an owner's merged change does. */
async function policy(change: (text: string) => string): Promise<void> {
  await world.policies.write(orderRepair, change(asWritten))
  const answer = await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  expect(answer, answer.text).toMatchObject({ status: 200, body: { refused: null } })
}

test('a grant that needed no approval cannot put one that others gave under its name', async () => {
  const approval = await ask(request())
  await say('alice@payments', approval)
  const issued = await world.issue('checkout', { purpose: 'read-orders', approval })
  expect(issued.status, issued.text).toBe(201)
  const story = await world.entries({ grant: issued.body.grant })
  expect(story.map(({ kind }) => kind)).toEqual(['grant.intent', 'grant.issued'])
  expect(story.filter((entry) => entry.approval !== undefined)).toEqual([])
  const seen = await world.api('GET', `/v1/approvals/${approval}`, { as: 'alice@payments' })
  expect(seen.body).toMatchObject({ status: 'approved', grant: null })
})

test('a yes of one person is worth nothing once policy asks for two', async () => {
  const body = request()
  const approval = await ask(body)
  await say('alice@payments', approval)
  await policy((text) => text.replace('approval: owner', 'approval: two-person'))
  const collected = await world.issue('order-repair', { ...body, approval })
  expect(collected).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  const anew = await ask(body)
  expect(anew).not.toBe(approval)
  await policy((text) => text)
})

test('a pending approval is not topped up under the rules of before', async () => {
  const body = request()
  const before = await ask(body)
  await policy((text) => text.replace('approval: owner', 'approval: two-person'))
  await say('bob@payments', before)
  expect(await world.issue('order-repair', { ...body, approval: before })).toMatchObject({
    status: 403,
    body: { code: 'approval_denied' },
  })
  await policy((text) => text)
})

test('the yes was for the credential as it was: another role behind its name needs another', async () => {
  const body = request()
  const approval = await ask(body)
  await say('alice@payments', approval)
  const file = 'credentials/orders-database.yaml'
  let kept = ''
  await world.policies.edit(file, (text) => {
    kept = text
    return text.replace('role: orders-rw\n', 'role: orders-ro\n')
  })
  await policy((text) => text)
  expect(await world.issue('order-repair', { ...body, approval })).toMatchObject({
    status: 403,
    body: { code: 'approval_denied' },
  })
  await world.policies.write(file, kept)
  await policy((text) => text)
  expect((await world.issue('order-repair', { ...body, approval })).status).toBe(201)
})

test('two persons are not one person under two issuers', async () => {
  await policy((text) => text.replace('approval: owner', 'approval: two-person'))
  const body = request()
  const approval = await ask(body)
  expect((await say('alice@payments', approval)).body.status).toBe('pending')
  const again = await say('coding-agent', approval, { sub: 'alice@payments' })
  expect(again).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  expect((await say('bob@payments', approval)).body.status).toBe('approved')
  await policy((text) => text)
})

test('a workload cannot bury its approvers: what waits for an answer is bounded', async () => {
  const answers: number[] = []
  for (let i = 0; i < 60; i++) answers.push((await world.issue('order-repair', request())).status)
  expect(answers.filter((status) => status === 202).length).toBeLessThanOrEqual(50)
  const over = await world.issue('order-repair', request())
  expect(over).toMatchObject({ status: 429, body: { code: 'limit_reached' } })
  expect(over.headers.get('retry-after')).toMatch(/^\d+$/)
  // Denying makes room.
  const { body } = await world.api('GET', '/v1/approvals', { as: 'alice@payments' })
  const [first] = body.approvals
  await world.api('POST', `/v1/approvals/${first?.approval}/deny`, { as: 'alice@payments', body: {} })
  expect((await world.issue('order-repair', request())).status).toBe(202)
})
