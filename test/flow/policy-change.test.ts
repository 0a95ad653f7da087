import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { policyStatusSchema } from '../../src/contract/policy.ts'
import { readinessSchema } from '../../src/contract/readiness.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { baoAvailable } from '../support/bao.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

for (const vault of ['embedded', 'bao-dev'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`a change of the policies, over ${vault}`, () => {
    let world: World
    const clock = shiftedClock()
    const dana = 'dana@security'
    beforeEach(async () => {
      world = await startWorld({
        vault,
        // Time is moved only where Vault moves with it.
        ...(vault === 'embedded' ? { clock } : {}),
        async policies({ edit }) {
          await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 40'))
        },
        config: (config) => ({ ...config, policyChange: { brake: { percent: 50, least: 4 } } }),
      })
    })
    afterEach(() => world?.stop())

    const reload = async () => {
      const { status, body } = await world.api('POST', '/v1/policies/reload', { as: dana })
      expect(status).toBe(200)
      return policyStatusSchema.strict().parse(body)
    }
    const take = async (as: string, purpose: string, rest: object = {}) => {
      const { status, body } = await world.issue(as, { purpose, ...rest })
      expect(status, JSON.stringify(body)).toBe(201)
      return body
    }
    const refused = (secret: unknown) =>
      eventually(async () => ((await world.login(secret)) === 'in' ? undefined : true), 'the login is refused')
    const ending = async (grant: string) => (await world.entries({ grant, kind: 'grant.ending' }))[0]
    const drop = (id: string) => (text: string) => text.replace(`id: ${id}`, `id: ${id}-no-more`)

    test('an edit on disk ends exactly what rested on it, and the record says which change it was', async () => {
      const before = await reload()
      const lost = await take('nightly-report', 'read-orders')
      const kept = await take('checkout', 'read-orders')
      await world.policies.edit('workloads/nightly-report.yaml', drop('read-orders'))
      // Nobody asks for a reload: the folder is followed.
      await refused(lost.secret)
      expect(await world.login(kept.secret)).toBe('in')
      const { digest } = await reload()
      expect(await ending(lost.grant)).toMatchObject({
        cause: 'policy_changed',
        policy: digest,
        actor: { type: 'broker', reason: 'policies' },
        reason: `purpose: read-orders of nightly-report is gone; policies ${before.digest.slice(0, 12)} → ${digest.slice(0, 12)}`,
      })
      expect(await ending(kept.grant)).toBeUndefined()
      const { ledger } = world
      await world.stopBroker()
      expect(await verifyLedger(ledger)).toMatchObject({ ok: true, problems: [] })
    })

    test('each kind of lost reason ends what it bears on, and spares the rest', async () => {
      const edits: readonly [file: string, change: (text: string) => string, reason: RegExp][] = [
        ['workloads/checkout.yaml', (t) => t.replace('status: active', 'status: suspended'), /checkout is suspended/],
        ['workloads/checkout.yaml', (t) => t.replace('status: active', 'status: retired'), /checkout is retired/],
        ['workloads/checkout.yaml', (t) => t.replace('orders:checkout"', 'orders:cashier"'), /another sub/],
        ['workloads/checkout.yaml', (t) => t.replace(/when: .*/, 'when: request.reason != ""'), /purpose.when/],
        [
          'workloads/checkout.yaml',
          (t) => t.replace('approval: none', 'approval: owner'),
          /approval: owner is asked for/,
        ],
      ]
      for (const [file, change, reason] of edits) {
        const lost = await take('checkout', 'read-orders')
        const kept = await take('nightly-report', 'read-orders')
        let original = ''
        await world.policies.edit(file, (text) => {
          original = text
          return change(text)
        })
        expect((await reload()).refused).toBeNull()
        await refused(lost.secret)
        expect((await ending(lost.grant))?.reason).toMatch(reason)
        expect(await world.login(kept.secret)).toBe('in')
        await world.policies.write(file, original)
        await reload()
        await world.api('POST', `/v1/grants/${kept.grant}/revoke`, { as: 'nightly-report' })
      }
    }, 120_000)

    test('a guardrail that is added, and a credential that stands for another role, end what they bear on', async () => {
      const lost = await take('checkout', 'read-orders')
      const kept = await take('checkout-staging', 'try-changes')
      await world.policies.write(
        'guardrails/freeze.yaml',
        'kind: Guardrail\nname: freeze\napplies: { environment: prod, credential: orders-ro }\ndeny: workload.system == "orders"\n',
      )
      await reload()
      await refused(lost.secret)
      expect((await ending(lost.grant))?.reason).toContain('guardrail freeze: workload.system == "orders"')
      expect(await world.login(kept.secret)).toBe('in')
      await world.policies.remove('guardrails/freeze.yaml')
      await reload()

      const again = await take('checkout', 'read-orders')
      await world.policies.edit('credentials/orders-database.yaml', (t) =>
        t.replace('role: orders-ro', 'role: orders-rr'),
      )
      await reload()
      await refused(again.secret)
      expect((await ending(again.grant))?.reason).toContain('orders-ro is database/orders-rr now')
      expect(await world.login(kept.secret)).toBe('in')
    })

    test('a ceiling that is lowered shortens what is younger than it, in Vault as well, and ends what is older', async () => {
      const held = await take('checkout', 'read-orders', { ttl: '1h' })
      await world.policies.edit('workloads/checkout.yaml', (t) =>
        t.replace('{ default: 15m, max: 1h }', '{ max: 10m }'),
      )
      const { digest } = await reload()
      const [shortened] = await eventually(async () => {
        const found = await world.entries({ grant: held.grant, kind: 'grant.shortened' })
        return found.length > 0 ? found : undefined
      }, 'it is shortened')
      const endMs = Date.parse(held.issued_at) + 600_000
      expect(shortened).toMatchObject({ policy: digest, expires: new Date(endMs).toISOString() })
      expect(shortened?.reason).toMatch(/^purpose: it is lower now; policies /)
      const { body: seen } = await world.api('GET', `/v1/grants/${held.grant}`, { as: 'checkout' })
      expect(seen).toMatchObject({ status: 'active', expires_at: shortened?.expires })
      expect(await world.login(held.secret)).toBe('in')
      const left = await eventually(async () => {
        const [id] = await world.leases('orders-ro')
        const { body } = await world.root('POST', 'sys/leases/lookup', { lease_id: id })
        const { ttl } = (body as { data: { ttl: number } }).data
        return ttl <= 600 ? ttl : undefined
      }, 'Vault has cut the lease')
      expect(left).toBeGreaterThan(500)
      // A second look finds nothing to do.
      await reload()
      await world.restart()
      await eventually(async () => ((await reload()).ending === 0 ? true : undefined), 'all is judged')
      expect(await world.entries({ grant: held.grant, kind: 'grant.shortened' })).toHaveLength(1)

      if (vault !== 'embedded') return
      clock.shift(300_000)
      await world.policies.edit('workloads/checkout.yaml', (t) => t.replace('{ max: 10m }', '{ max: 4m }'))
      await reload()
      await refused(held.secret)
      expect((await ending(held.grant))?.reason).toMatch(/^purpose: 4m is over; policies /)
    })

    test('a task whose purpose is gone ends, and its grants with it', async () => {
      const { body: task } = await world.api('POST', '/v1/tasks', {
        as: 'coding-agent',
        body: { purpose: 'fix-bug', intent: 'a look' },
      })
      const held = await take('coding-agent', 'fix-bug', { task: task.task })
      await world.policies.edit('workloads/coding-agent.yaml', drop('fix-bug'))
      await reload()
      await refused(held.secret)
      const [ended] = await eventually(async () => {
        const found = await world.entries({ task: task.task, kind: 'task.ended' })
        return found.length > 0 ? found : undefined
      }, 'the task is ended')
      expect(ended).toMatchObject({ cause: 'policy', outcome: 'purpose: fix-bug of coding-agent is gone' })
      expect(await ending(held.grant)).toMatchObject({ cause: 'policy_changed' })
    })

    test('what was edited while no broker ran is found at the start', async () => {
      const lost = await take('nightly-report', 'read-orders')
      const kept = await take('checkout', 'read-orders')
      await world.stopBroker()
      await world.policies.edit('workloads/nightly-report.yaml', drop('read-orders'))
      await world.restart()
      await refused(lost.secret)
      expect(await ending(lost.grant)).toMatchObject({ cause: 'policy_changed' })
      expect(await world.login(kept.secret)).toBe('in')
    })

    describe('the brake', () => {
      const ready = async () => readinessSchema.strict().parse((await world.api('GET', '/readyz')).body).policy
      const accept = (digest: string, as = dana) => world.api('POST', '/v1/policies/accept', { as, body: { digest } })
      const five = () => Promise.all(Array.from({ length: 5 }, () => take('checkout', 'read-orders')))

      test('narrows issuance at once, holds the rest over a restart, and lets go when an operator accepts', async () => {
        const held = await five()
        const kept = await take('nightly-report', 'read-orders')
        await world.policies.edit('workloads/checkout.yaml', drop('read-orders'))
        const status = await reload()
        expect(status.held).toMatchObject({
          digest: status.digest,
          live: 6,
          would_end: 5,
          reasons: [{ grants: 5, reason: expect.stringContaining('read-orders of checkout is gone') }],
        })
        expect((await world.issue('checkout', { purpose: 'read-orders' })).body).toMatchObject({
          code: 'purpose_unknown',
        })
        for (const { secret } of held) expect(await world.login(secret)).toBe('in')
        expect((await ready()).held).toMatchObject({ live: 6, would_end: 5 })
        expect(await world.entries({ kind: 'policy.held' })).toMatchObject([
          { policy: status.digest, live: 6, would_end: 5 },
        ])
        const finding = { finding: 'policy-held', severity: 'critical' }
        expect(await world.entries({ kind: 'finding.opened' })).toMatchObject([finding])
        expect(world.logged.filter(({ event }) => event === 'policy.held')).toHaveLength(1)

        await world.restart()
        await eventually(async () => (await ready()).held ?? undefined, 'it is held again')
        expect(await world.entries({ kind: 'policy.held' })).toHaveLength(1)
        for (const { secret } of held) expect(await world.login(secret)).toBe('in')

        expect((await accept(status.digest, 'alice@payments')).body).toMatchObject({ code: 'role_required' })
        expect((await accept('0'.repeat(64))).body).toMatchObject({ code: 'state_conflict' })
        const accepted = await accept(status.digest)
        expect(accepted).toMatchObject({ status: 200, body: { held: null } })
        for (const { secret } of held) await refused(secret)
        expect(await world.login(kept.secret)).toBe('in')
        expect(await world.entries({ kind: 'policy.accepted' })).toMatchObject([
          { policy: status.digest, would_end: 5, actor: { type: 'person' } },
        ])
        expect(await world.entries({ kind: 'finding.closed' })).toMatchObject([{ finding: 'policy-held' }])
        expect((await accept(status.digest)).body).toMatchObject({ code: 'state_conflict' })
        const { ledger } = world
        await world.stopBroker()
        expect(await verifyLedger(ledger)).toMatchObject({ ok: true, problems: [] })
      })

      test('lets go of everything when the edit is taken back, also while no broker ran', async () => {
        const held = await five()
        await world.policies.edit('workloads/checkout.yaml', drop('read-orders'))
        expect((await reload()).held).not.toBeNull()
        await world.policies.edit('workloads/checkout.yaml', (text) =>
          text.replace('read-orders-no-more', 'read-orders'),
        )
        expect((await reload()).held).toBeNull()
        expect(await world.entries({ kind: 'finding.closed' })).toHaveLength(1)

        await world.policies.edit('workloads/checkout.yaml', drop('read-orders'))
        expect((await reload()).held).not.toBeNull()
        await world.stopBroker()
        await world.policies.edit('workloads/checkout.yaml', (text) =>
          text.replace('read-orders-no-more', 'read-orders'),
        )
        await world.restart()
        await eventually(
          async () => ((await world.entries({ kind: 'finding.closed' })).length === 2 ? true : undefined),
          'the finding is closed',
        )
        for (const { secret } of held) expect(await world.login(secret)).toBe('in')
      })

      test('another change is judged anew, with everything that was held', async () => {
        const held = await five()
        await world.policies.edit('workloads/checkout.yaml', drop('read-orders'))
        const first = await reload()
        expect(first.held).not.toBeNull()
        // Nothing of it bears on checkout, and what is held is still held, under the new digest.
        await world.policies.edit('workloads/order-repair.yaml', (text) =>
          text.replace(/because: .*/, 'because: Other words'),
        )
        const second = await reload()
        expect(second.held).toMatchObject({ digest: second.digest, would_end: 5 })
        expect((await accept(first.digest)).body).toMatchObject({ code: 'state_conflict' })
        expect((await accept(second.digest)).status).toBe(200)
        for (const { secret } of held) await refused(secret)
      })

      test('a workload that is suspended by name ends whatever the brake says', async () => {
        const held = await five()
        await world.policies.edit('workloads/checkout.yaml', (text) =>
          text.replace('status: active', 'status: suspended'),
        )
        expect((await reload()).held).toBeNull()
        for (const { secret } of held) await refused(secret)
      })
    })
  })
}
