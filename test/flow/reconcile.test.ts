import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sha256Hex } from '../../src/base/digest.ts'
import { type ReconcileResult, reconcileResultSchema, reconcileStatusSchema } from '../../src/contract/reconcile.ts'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { runWrit } from '../support/serve.ts'
import { strictly, type VaultApi } from '../support/vault-api.ts'

const operator = 'dana@security'
const leasedRole = `kind: Credential
name: mesh-tls
engine: pki
mount: pki
role: mesh
environment: prod
sensitivity: medium
data: [mutual TLS of the mesh]
params: { common_name: "{{workload}}.mesh.example.com", generate_lease: true }
ttl: { max: 24h }
`

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`reconciling with ${vault}`, () => {
    let world: World
    let api: VaultApi
    beforeAll(async () => {
      world = await startWorld({
        vault,
        // After the round of the start, only when it is asked for.
        config: (config) => ({ ...config, reconcile: { everyMs: 86_400_000, concurrency: 16, perSecond: 10_000 } }),
        async policies({ edit, write }) {
          await write('credentials/mesh-tls.yaml', leasedRole)
          await edit('workloads/checkout.yaml', (text) =>
            text
              .replaceAll(/limits: .*/g, 'limits: { active: 1000 }')
              .replace('credentials: [internal-tls]', 'credentials: [internal-tls, mesh-tls]'),
          )
        },
      })
      api = strictly(world.root)
      await eventually(async () => ((await status()).last === null ? undefined : true), 'the round of the start')
    }, 60_000)
    afterAll(() => world?.stop())

    const status = async () =>
      reconcileStatusSchema.parse((await world.api('GET', '/v1/reconcile', { as: operator })).body)
    async function reconcile(body: object = {}): Promise<ReconcileResult> {
      const answer = await world.api('POST', '/v1/reconcile', { as: operator, body })
      expect(answer.status, answer.text).toBe(200)
      return reconcileResultSchema.parse(answer.body)
    }
    const issued = async (request: object) => {
      const { status: code, body, text } = await world.issue('checkout', request)
      expect(code, text).toBe(201)
      return body
    }
    const grantNow = async (id: string) => (await world.api('GET', `/v1/grants/${id}`, { as: operator })).body
    const endOf = async (grant: string) => (await world.entries({ grant, kind: 'grant.ended' }))[0]
    const mesh = { purpose: 'serve-tls', credential: 'mesh-tls' }
    const meshRole = ({ roles }: ReconcileResult) => roles.find(({ role }) => role === 'mesh')

    /** Ends the lease of a grant as somebody does who goes round the broker. */
    async function endLeaseOf(grant: string): Promise<void> {
      const [entry] = await world.entries({ grant, kind: 'grant.issued' })
      const { hash } = (entry?.lease ?? {}) as { hash?: string }
      const leases = await world.leases('orders-ro')
      const id = leases.find((each) => sha256Hex(canonicalJson({ type: 'lease', id: each })) === hash)
      await api('PUT', 'sys/leases/revoke', { lease_id: id, sync: true })
    }

    test('is for operators, and a refusal is on record', async () => {
      for (const method of ['GET', 'POST']) {
        const refused = await world.api(method, '/v1/reconcile', { as: 'alice@payments' })
        expect(refused).toMatchObject({ status: 403, body: { code: 'role_required' } })
      }
      expect((await world.entries({ kind: 'request.denied' })).at(-1)).toMatchObject({ code: 'role_required' })
    })

    test('finds what was made by hand and what was ended by hand, and leaves the rest', async () => {
      const kept = await issued({ purpose: 'read-orders' })
      const lost = await issued({ purpose: 'read-orders' })
      await endLeaseOf(lost.grant)
      const { body } = await api('GET', 'database/creds/orders-ro')
      const orphan = (body as { data: object }).data

      expect(await reconcile({ dry_run: true })).toMatchObject({ complete: true, orphans: 1, gone: 1 })
      expect(await world.login(orphan)).toBe('in')
      expect(await grantNow(lost.grant)).toMatchObject({ status: 'active' })

      const result = await reconcile()
      expect(result).toMatchObject({ complete: true, orphans: 1, foreign: 0, gone: 1 })
      expect(result.gone_grants).toMatchObject([{ grant: lost.grant, credential: 'orders-ro' }])
      expect(await world.login(orphan)).toMatch(/^28/)
      expect(await grantNow(lost.grant)).toMatchObject({ status: 'ended', outcome: 'gone' })
      expect(await endOf(lost.grant)).toMatchObject({
        cause: 'found_gone',
        detail: expect.stringContaining('Vault no longer knows the lease'),
      })
      expect(await grantNow(kept.grant)).toMatchObject({ status: 'active' })
      expect(await world.login(kept.secret)).toBe('in')
      const rounds = await world.entries({ kind: 'reconcile.completed' })
      expect(rounds.slice(-2)).toMatchObject([
        { trigger: 'demand', dry_run: true, orphans: 1, actor: { type: 'person', subject: operator } },
        { trigger: 'demand', dry_run: false, orphans: 1, gone: 1 },
      ])
      expect(await reconcile()).toMatchObject({ complete: true, orphans: 0, gone: 0 })
    })

    test('asks about each secret that no list shows: certificates, and users behind wrapping tokens', async () => {
      const certificate = await issued({ purpose: 'serve-tls', credential: 'internal-tls' })
      const other = await issued({ purpose: 'serve-tls', credential: 'internal-tls' })
      const wrapped = await issued({ purpose: 'read-orders', delivery: 'wrapped' })
      expect(await reconcile()).toMatchObject({ complete: true, orphans: 0, gone: 0 })

      await api('POST', 'pki/revoke', { serial_number: certificate.secret.serial_number })
      await endTokenOf(wrapped.grant)
      const result = await reconcile()
      expect(result).toMatchObject({ complete: true, orphans: 0 })
      expect(result.gone_grants.map(({ grant }) => grant).sort()).toEqual([certificate.grant, wrapped.grant].sort())
      expect((await endOf(certificate.grant))?.detail).toContain('revoked in Vault by somebody else at ')
      expect((await endOf(wrapped.grant))?.detail).toContain('Vault no longer knows the token made for this grant')
      expect(await grantNow(other.grant)).toMatchObject({ status: 'active' })
    })

    /** The token that a wrapped secret was made with names its grant. */
    async function endTokenOf(grant: string): Promise<void> {
      const { body } = await api('LIST', 'auth/token/accessors')
      for (const accessor of (body as { data: { keys: string[] } }).data.keys) {
        const found = await world.root('POST', 'auth/token/lookup-accessor', { accessor })
        const meta = (found.body as { data?: { meta?: { grant?: string } | null } }).data?.meta
        if (meta?.grant === grant) await api('POST', 'auth/token/revoke-accessor', { accessor })
      }
    }

    test('with the command says what was done, and 1 when a role could not be compared, which the others are', async () => {
      const environment = async () => ({ WRIT_URL: world.url, WRIT_TOKEN: await world.token(operator) })
      await api('GET', 'database/creds/orders-ro')
      const dry = await runWrit(['reconcile', '--dry-run'], { env: await environment() })
      expect(dry.stdout).toContain('database/orders-ro')
      expect(dry.code, dry.stderr).toBe(0)

      const { body } = await api('GET', 'sys/policies/acl/writ-broker')
      const { policy } = (body as { data: { policy: string } }).data
      const without = policy.replace(/^path "sys\/leases\/lookup\/pki\/issue\/mesh\/".*$/m, '')
      expect(without).not.toBe(policy)
      await api('PUT', 'sys/policies/acl/writ-broker', { policy: without })
      const failing = await runWrit(['reconcile', '--json'], { env: await environment() })
      await api('PUT', 'sys/policies/acl/writ-broker', { policy })
      expect(failing.code, failing.stderr).toBe(1)
      const result = reconcileResultSchema.parse(JSON.parse(failing.stdout))
      expect(result).toMatchObject({ complete: false })
      expect(meshRole(result)?.problem).toContain('path "sys/leases/lookup/pki/issue/mesh/"')

      const again = await runWrit(['reconcile', '--json'], { env: await environment() })
      expect(again.code, again.stderr).toBe(0)
      const last = await runWrit(['reconcile', '--status', '--json'], { env: await environment() })
      expect(reconcileStatusSchema.parse(JSON.parse(last.stdout)).last).toMatchObject({
        trigger: 'demand',
        complete: true,
      })
    })

    test('goes through two thousand leases, and the record verifies', { timeout: 120_000 }, async () => {
      const strays = vault === 'embedded' ? 60 : 1_900
      const grants = vault === 'embedded' ? 20 : 100
      // Else every revocation makes the list of all of them anew.
      if (vault !== 'embedded') await api('POST', 'pki/config/crl', { auto_rebuild: true })
      await inTurns(grants, async () => void (await issued(mesh)))
      await inTurns(strays, () => api('POST', 'pki/issue/mesh', { common_name: 'stray.mesh.example.com', ttl: '1h' }))
      const looked = await reconcile({ dry_run: true })
      expect(meshRole(looked)).toMatchObject({ leases: grants + strays, grants, orphans: strays, gone: 0 })
      expect(looked.orphan_leases).toHaveLength(Math.min(100, strays))
      const done = await reconcile()
      expect(meshRole(done)).toMatchObject({ leases: grants + strays, grants, orphans: strays, gone: 0, problem: null })
      const after = await reconcile()
      expect(meshRole(after)).toMatchObject({ leases: grants, grants, orphans: 0, gone: 0, problem: null })
      const ended = await world.entries({ kind: 'grant.ended' })
      expect(ended.filter(({ cause, credential }) => cause === 'orphan' && credential === 'mesh-tls')).toHaveLength(
        strays,
      )

      const metrics = (await world.api('GET', '/metrics')).text
      expect(metrics).toMatch(/^writ_reconcile_orphans_total [1-9]\d*$/m)
      expect(metrics).toContain('writ_reconcile_failed_roles 0')
      await world.stopBroker()
      const { dir, vkey } = ledger
      expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, problems: [] })
    })
    let ledger: World['ledger']
    beforeAll(() => {
      ledger = world.ledger
    })

    async function inTurns(count: number, one: () => Promise<unknown>): Promise<void> {
      let left = count
      const run = async (): Promise<void> => {
        while (left-- > 0) await one()
      }
      await Promise.all(Array.from({ length: 8 }, run))
    }
  })
}
