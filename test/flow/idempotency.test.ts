import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

const request = { purpose: 'read-orders', ttl: '10m', reason: 'a start-up' }

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`a request with an Idempotency-Key over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({
        vault,
        async policies({ edit }) {
          await edit('workloads/order-repair.yaml', (text) => text.replace('active: 1', 'active: 2'))
          await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 1'))
        },
      })
    })
    afterAll(() => world?.stop())

    const ask = (key: string, body: object = request, as = 'checkout') =>
      world.api('POST', '/v1/credentials', { as, body, headers: { 'idempotency-key': key } })
    const handBack = (grant: string) => world.api('POST', `/v1/grants/${grant}/revoke`, { as: 'checkout' })
    const liveGrants = async () => (await world.api('GET', '/v1/grants', { as: 'checkout' })).body.grants
    const lastIntent = async () => (await world.entries({ kind: 'grant.intent' })).at(-1)

    test('a retry revokes what nobody has seen and issues another, also at the limit, and the record says so', async () => {
      const first = await ask('retry-1')
      const second = await ask('retry-1')
      expect([first.status, second.status]).toEqual([201, 201])
      expect(second.body.grant).not.toBe(first.body.grant)
      expect(await world.login(first.body.secret)).toMatch(/^28/)
      expect(await world.login(second.body.secret)).toBe('in')
      expect(await world.entries({ grant: first.body.grant, kind: 'grant.ended' })).toMatchObject([
        { cause: 'replaced', outcome: 'revoked' },
      ])
      const intent = await lastIntent()
      expect(intent).toMatchObject({ grant: second.body.grant, replaces: first.body.grant })
      expect(JSON.stringify(intent)).not.toContain('retry-1')
      await handBack(second.body.grant)
    })

    test('of those who send a key at once, at most one holds a secret afterwards', async () => {
      const answers = await Promise.all(Array.from({ length: 6 }, () => ask('at-once')))
      for (const { status, body } of answers) {
        if (status !== 201) expect({ status, code: body.code }).toEqual({ status: 409, code: 'state_conflict' })
      }
      const live = await liveGrants()
      expect(live.length).toBeLessThanOrEqual(1)
      expect(await world.leases('orders-ro')).toHaveLength(live.length)
      const { status, body } = await ask('at-once')
      expect(status).toBe(201)
      expect(await liveGrants()).toMatchObject([{ grant: body.grant }])
      expect(await world.leases('orders-ro')).toHaveLength(1)
      await handBack(body.grant)
    })

    test('the key is remembered over a restart', async () => {
      const first = await ask('restart')
      await world.restart()
      const second = await ask('restart')
      expect(second.status).toBe(201)
      expect(await world.login(first.body.secret)).toMatch(/^28/)
      expect(await lastIntent()).toMatchObject({ replaces: first.body.grant })
      await handBack(second.body.grant)
      await world.restart()
      const other = await ask('restart', { ...request, reason: 'another' })
      expect(other).toMatchObject({ status: 400, body: { code: 'request_invalid', reasons: ['idempotency_key'] } })
    })

    test('a key with another request is refused and ends nothing; one of another workload is another key', async () => {
      const { body } = await ask('shared')
      expect(await ask('shared', { ...request, ttl: '11m' })).toMatchObject({
        status: 400,
        body: { code: 'request_invalid', reasons: ['idempotency_key'] },
      })
      expect(await world.login(body.secret)).toBe('in')
      const other = await ask('shared', { purpose: 'read-orders' }, 'nightly-report')
      expect(other.status).toBe(201)
      expect(await world.login(body.secret)).toBe('in')
      await world.api('POST', `/v1/grants/${other.body.grant}/revoke`, { as: 'nightly-report' })
      await handBack(body.grant)
    })

    test('the same fields in another order are the same request', async () => {
      const { body } = await ask('order', { purpose: 'read-orders', reason: 'r' })
      const again = await ask('order', { reason: 'r', purpose: 'read-orders' })
      expect(again.status).toBe(201)
      expect(await world.login(body.secret)).toMatch(/^28/)
      await handBack(again.body.grant)
    })

    test('a key is 1 to 255 visible ASCII characters', async () => {
      for (const key of ['', 'a b', 'x'.repeat(256), 'ä'.normalize('NFC')]) {
        const answer = await ask(key)
        expect(answer, JSON.stringify(key)).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
      }
      const { status, body } = await ask(`"${'k'.repeat(253)}"`)
      expect(status).toBe(201)
      await handBack(body.grant)
    })

    test('a caller whose connection is cut while it waits gets one credential by asking again', async () => {
      const token = await world.token('checkout')
      const { hostname, port } = new URL(world.url)
      const body = JSON.stringify(request)
      const head = [
        'POST /v1/credentials HTTP/1.1',
        `Host: ${hostname}`,
        `Authorization: Bearer ${token}`,
        'Idempotency-Key: cut-1',
        'Content-Type: application/json',
        `Content-Length: ${body.length}`,
      ]
      const before = (await world.entries({ kind: 'grant.intent' })).length
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
      await eventually(
        async () => (await world.entries({ kind: 'grant.intent' })).length > before || undefined,
        'the intent is on record',
      )
      socket.destroy()
      const again = await eventually(async () => {
        const answer = await ask('cut-1')
        return answer.status === 201 ? answer : undefined
      }, 'the retry is answered')
      expect(await world.login(again.body.secret)).toBe('in')
      expect(await liveGrants()).toMatchObject([{ grant: again.body.grant }])
      await eventually(
        async () => (await world.leases('orders-ro')).length === 1 || undefined,
        'what nobody has seen is gone',
      )
      await handBack(again.body.grant)
    })

    test('what a person approved is collected again by the same request, and by no other', async () => {
      const wanted = { purpose: 'break-fix', reason: 'ticket 4711' }
      const pending = await ask('fix', wanted, 'order-repair')
      expect(pending.status).toBe(202)
      const { approval } = pending.body
      await world.api('POST', `/v1/approvals/${approval}/approve`, { as: 'alice@payments', body: { reason: 'yes' } })
      const collect = { ...wanted, approval }
      const first = await ask('collect', collect, 'order-repair')
      expect(first.status).toBe(201)
      expect(await ask('another-key', collect, 'order-repair')).toMatchObject({
        status: 403,
        body: { code: 'approval_denied' },
      })
      const second = await ask('collect', collect, 'order-repair')
      expect(second.status).toBe(201)
      expect(await world.login(first.body.secret)).toMatch(/^28/)
      expect(await lastIntent()).toMatchObject({ approval, replaces: first.body.grant })
      await world.api('POST', `/v1/grants/${second.body.grant}/revoke`, { as: 'order-repair' })
    })
  })
}
