import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { issuedSetSchema } from '../../src/contract/credential.ts'
import type { StoredEntryView } from '../../src/contract/ledger.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { databaseUsers } from '../support/database-users.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { type ServeFolder, type Serving, serveFolder, startServe } from '../support/serve.ts'

const migrator = `
kind: Workload
name: migrator
type: service
system: orders
owner: payments
backup: platform
custodian: sre
status: active
signoff: { by: alice@payments, on: 2026-11-02 }
match: { issuer: cluster-eu, claims: { sub: "system:serviceaccount:orders:migrator" } }
purposes:
  - id: migrate
    because: Move the orders to their new tables
    environment: prod
    credentials: [orders-ro, internal-tls]
    ttl: { default: 10m, max: 1h }
    limits: { active: 100 }
`
const wanted = { purpose: 'migrate', credential: ['orders-ro', 'internal-tls'] }

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`kill -9 within a set over ${vault}`, () => {
    let world: World
    let proxy: TcpProxy
    let folder: ServeFolder
    let serving: Serving
    beforeAll(async () => {
      world = await startWorld({
        vault,
        broker: false,
        policies: ({ write }) => write('workloads/migrator.yaml', migrator),
      })
      proxy = await startProxy(world.stack.vault.address)
      folder = await serveFolder(world.stack, world.policies.dir, {
        vault: { address: proxy.url, auth: { method: 'token', tokenFile: './vault-token' } },
      })
      serving = await startServe(folder)
    })
    afterAll(async () => {
      serving?.signal('SIGKILL')
      await serving?.exited
      await folder?.close()
      await proxy?.stop()
      await world?.stop()
    })

    const ask = async () =>
      callApi(serving.url, 'POST', '/v1/credentials', { token: await world.token('migrator'), body: wanted })
    const entries = async (query: object): Promise<readonly StoredEntryView['entry'][]> => {
      const token = await world.token('dana@security')
      const page = new URLSearchParams({ ...query, limit: '1000' })
      const { body } = await callApi(serving.url, 'GET', `/v1/ledger/entries?${page}`, { token })
      return body.entries.map(({ entry }) => entry)
    }
    const users = (): Promise<readonly string[]> => databaseUsers(world.stack.postgres.url)
    const killed = async (): Promise<void> => {
      serving.signal('SIGKILL')
      await serving.exited
      proxy.set('pass')
      serving = await startServe(folder)
    }

    test('a start ends what is alive of a set of which not all was issued, and nothing of one that was', async () => {
      const answer = await ask()
      expect(answer.status, answer.text).toBe(201)
      const whole = issuedSetSchema.parse(answer.body)
      const before = await users()
      proxy.only((head) => head.includes('/v1/pki/issue/'))
      proxy.set('stall')
      const lost = ask().catch(() => undefined)
      const issued = await eventually(
        async () => (await entries({ kind: 'grant.issued', credential: 'orders-ro' }))[1],
        'the first of the second set is issued',
      )
      expect(await users()).toHaveLength(before.length + 1)
      await killed()
      await lost

      const story = () => entries({ grant: String(issued.grant) })
      await eventually(async () => ((await story()).at(-1)?.kind === 'grant.ended' ? true : undefined), 'its end')
      expect((await story()).at(-1)).toMatchObject({ cause: 'issuance_failed', outcome: 'revoked' })
      expect(await users()).toEqual(before)
      const parts = await entries({ composite: String(issued.composite) })
      expect(parts.map(({ kind }) => kind)).not.toContain('composite.issued')
      expect(parts.filter(({ kind }) => kind === 'grant.issued')).toHaveLength(1)

      expect(await world.login(whole.credentials[0]?.secret)).toBe('in')
      for (const { grant } of whole.credentials) {
        const token = await world.token('migrator')
        const { body } = await callApi(serving.url, 'GET', `/v1/grants/${grant}`, { token })
        expect(body.status).toBe('active')
      }
    })

    test('wherever it comes, no set is alive by half, and none that was handed over is lost', {
      timeout: 120_000,
    }, async () => {
      const handed: string[] = []
      for (let round = 0; round < 6; round++) {
        const seen = (await entries({ kind: 'grant.intent' })).length
        const asked = Array.from({ length: 6 }, () => ask().catch(() => undefined))
        // Between the first intent and the last, a little later each time.
        await eventually(
          async () => ((await entries({ kind: 'grant.intent' })).length > seen + 2 * round ? true : undefined),
          'work to interrupt',
        )
        await killed()
        for (const answer of await Promise.all(asked)) {
          if (answer?.status === 201) handed.push(issuedSetSchema.parse(answer.body).composite)
        }
      }
      const composites = new Set((await entries({ kind: 'grant.intent' })).map(({ composite }) => String(composite)))
      let partial = 0
      for (const composite of composites) {
        const alive = await eventually(async () => {
          const story = await entries({ composite })
          const whole = story.some(({ kind }) => kind === 'composite.issued')
          const of = (kind: string) => story.filter((entry) => entry.kind === kind).length
          const open = of('grant.issued') - of('grant.ended')
          if (!whole && open > 0) return undefined
          if (!whole) partial += 1
          return { whole, open }
        }, `the end of ${composite}`)
        if (alive.whole) expect(alive.open, composite).toBe(2)
        else expect(handed).not.toContain(composite)
      }
      expect(partial).toBeGreaterThan(0)
      const report = await verifyLedger({ dir: folder.ledger, vkey: await folder.vkey() })
      expect(report).toMatchObject({ ok: true, problems: [] })
    })
  })
}
