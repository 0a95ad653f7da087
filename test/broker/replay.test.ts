import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'

let world: World
beforeAll(async () => {
  world = await startWorld({
    async policies({ edit }) {
      await edit('issuers/cluster-eu.yaml', (text) => text.replace(/replay: \w+/, 'replay: once'))
      await edit('issuers/cluster-staging.yaml', (text) => text.replace(/replay: \w+/, 'replay: once_per_purpose'))
    },
  })
})
afterAll(() => world?.stop())

const issue = (token: string, purpose: string) => world.api('POST', '/v1/credentials', { token, body: { purpose } })

test('a token that was spent stays spent when the broker is started anew', async () => {
  const once = await world.token('checkout')
  const perPurpose = await world.token('checkout-staging')
  const refused = await world.token('checkout')
  expect((await issue(once, 'read-orders')).status).toBe(201)
  expect((await issue(perPurpose, 'try-changes')).status).toBe(201)
  expect((await issue(refused, 'no-such-purpose')).status).toBe(403)
  await world.restart()
  for (const [token, purpose] of [
    [once, 'read-orders'],
    [perPurpose, 'try-changes'],
    [refused, 'read-orders'],
  ] as const) {
    expect(await issue(token, purpose), purpose).toMatchObject({ status: 401, body: { code: 'token_replayed' } })
  }
})

test('a token may still serve a purpose that it has not served, and open a task for the one it will serve', async () => {
  const token = await world.token('checkout-staging')
  const opened = await world.api('POST', '/v1/tasks', { token, body: { purpose: 'try-changes', intent: 'a look' } })
  expect(opened.status, opened.text).toBe(201)
  await world.restart()
  expect((await issue(token, 'try-changes')).status).toBe(201)
  await world.restart()
  expect(await issue(token, 'try-changes')).toMatchObject({ status: 401, body: { code: 'token_replayed' } })
})
