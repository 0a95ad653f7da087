import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { traceSchema } from '../../src/contract/trace.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { runWrit } from '../support/serve.ts'

const dana = 'dana@security'

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`a trace over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({ vault })
    })
    afterAll(() => world?.stop())

    const trace = async (q: string, as = dana) => {
      const { status, body } = await world.api('GET', `/v1/trace?${new URLSearchParams({ q })}`, { as })
      expect(status, JSON.stringify(body)).toBe(200)
      return traceSchema.strict().parse(body)
    }
    const writ = async (args: readonly string[], as = dana) => {
      const env = { WRIT_URL: world.url, WRIT_TOKEN: await world.token(as) }
      return runWrit(args, { env })
    }

    test('a database user leads to workload, purpose, owner, data and proof, and is killed from there', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders', reason: 'start-up' })
      const found = await trace(String(body.secret.username))
      expect(found.more).toBe(false)
      expect(found.grants).toHaveLength(1)
      expect(found.grants[0]).toMatchObject({
        grant: body.grant,
        workload: 'checkout',
        purpose: 'read-orders',
        because: 'Show customers the orders they placed',
        owner: 'payments',
        backup: 'platform',
        contact: { email: 'payments@example.com' },
        credential: 'orders-ro',
        reason: 'start-up',
        approval: null,
        ids: [{ type: 'database_user', value: body.secret.username }],
        ended_at: null,
        revocable: true,
      })
      expect(found.grants[0]?.data).toContain('orders')
      expect(found.grants[0]?.ledger).toContain(body.ledger.index)
      expect(found.grants[0]?.asked_by?.subject).toBe('system:serviceaccount:orders:checkout')

      const killed = await writ(['trace', String(body.secret.username), '--kill', '--reason', 'found in a leak'])
      expect(killed.code, killed.stderr).toBe(0)
      expect(killed.stdout).toContain('owner        payments (payments@example.com')
      expect(killed.stdout).toContain(`${body.grant}: revoked`)
      expect(await world.login(body.secret)).toMatch(/^28/)
      expect((await trace(String(body.secret.username))).grants[0]).toMatchObject({ outcome: 'revoked' })
    })

    test('a certificate serial leads there in every spelling, and so do the grant and the workload token', async () => {
      const token = await world.token('checkout')
      const { status, body } = await world.api('POST', '/v1/credentials', { token, body: { purpose: 'serve-tls' } })
      expect(status, JSON.stringify(body)).toBe(201)
      const serial = String(body.secret.serial_number)
      for (const spelling of [serial, serial.toUpperCase(), serial.replaceAll(':', ''), body.grant]) {
        expect(
          (await trace(spelling)).grants.map(({ grant }) => grant),
          spelling,
        ).toEqual([body.grant])
      }
      const byToken = await writ(['trace', token, '--json'])
      expect(byToken.code, byToken.stderr).toBe(0)
      expect(JSON.parse(byToken.stdout).grants).toMatchObject([{ grant: body.grant, credential: 'internal-tls' }])
      // What is sent is a digest.
      expect(JSON.stringify(world.logged)).not.toContain(token)
    })

    test('a lease leads there, and is not sent', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders' })
      const [lease = ''] = await world.leases('orders-ro')
      const { code, stdout } = await writ(['trace', lease])
      expect(code).toBe(0)
      expect(stdout).toContain(body.grant)
      expect(JSON.stringify(world.logged)).not.toContain(lease)
    })

    test('owners are led to what is theirs alone, workloads nowhere, and what is on no record is said so', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders' })
      const user = String(body.secret.username)
      expect((await trace(user, 'alice@payments')).grants).toHaveLength(1)
      expect((await trace(user, 'carol@platform')).grants).toEqual([])
      const asked = await world.api('GET', `/v1/trace?q=${user}`, { as: 'checkout' })
      expect([asked.status, asked.body.code]).toEqual([403, 'role_required'])
      for (const nothing of ['v-nobody', 'gr_00000000000000000000000000', 'a'.repeat(64), '%00', '{{x}}']) {
        expect((await trace(nothing)).grants).toEqual([])
      }
      const lost = await writ(['trace', 'v-nobody'])
      expect(lost.code).toBe(1)
      expect(lost.stderr).toContain('nothing on record')
      const long = await world.api('GET', `/v1/trace?q=${'x'.repeat(600)}`, { as: dana })
      expect(long.status).toBe(400)
    })

    test('an approval and a task are told with who said yes and what was meant', async () => {
      const task = await world.api('POST', '/v1/tasks', {
        as: 'order-repair',
        body: { purpose: 'break-fix', intent: 'mend order 42', ttl: '10m' },
      })
      expect(task.status, JSON.stringify(task.body)).toBe(201)
      const request = { purpose: 'break-fix', task: task.body.task, reason: 'order 42' }
      const pending = await world.issue('order-repair', request)
      expect(pending.status, JSON.stringify(pending.body)).toBe(202)
      const approval = String(pending.body.approval)
      expect(
        (await world.api('POST', `/v1/approvals/${approval}/approve`, { as: 'alice@payments', body: {} })).status,
      ).toBe(200)
      const { status, body } = await world.issue('order-repair', { ...request, approval })
      expect(status, JSON.stringify(body)).toBe(201)
      for (const q of [approval, String(task.body.task)]) {
        expect((await trace(q)).grants).toMatchObject([
          {
            grant: body.grant,
            approval: { approval, by: [{ subject: 'alice@payments' }] },
            task: { task: task.body.task, intent: 'mend order 42' },
          },
        ])
      }
    })
  })
}
