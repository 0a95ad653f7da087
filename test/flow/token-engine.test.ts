import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { vaultApi } from '../support/vault-api.ts'

const credential = `kind: Credential
name: app-reader
engine: token
role: app-reader
policies: [app-reader]
environment: prod
sensitivity: medium
data: [configuration of the app]
ttl: { max: 1h }
`

for (const vault of ['embedded', 'bao-dev'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`a Vault token from the broker over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({
        vault,
        policies: async (folder) => {
          await folder.write('credentials/app-reader.yaml', credential)
          await folder.edit('workloads/checkout.yaml', (text) => text.replace('[orders-ro]', '[app-reader]'))
        },
      })
      await world.root('PUT', 'sys/policies/acl/app-reader', {
        policy: 'path "sys/mounts" { capabilities = ["read"] }',
      })
    })
    afterAll(() => world?.stop())

    const reads = async (token: string | undefined): Promise<number> =>
      (await vaultApi(world.stack.vault.address, token ?? '')('GET', 'sys/mounts')).status

    test('works until its grant is revoked, and its digest leads to the grant', async () => {
      const { status, body } = await world.issue('checkout', { purpose: 'read-orders' })
      expect(status).toBe(201)
      expect(body).toMatchObject({ revocable: true, renewable: false, delivery: 'plain' })
      expect(await reads(body.secret.client_token)).toBe(200)
      const digest = createHash('sha256')
        .update(body.secret.client_token ?? '')
        .digest('hex')
      const [issued] = await world.entries({ kind: 'grant.issued' })
      expect(issued).toMatchObject({ grant: body.grant, ids: [{ type: 'token_sha256', value: digest }] })
      expect(JSON.stringify(await world.entries())).not.toContain(body.secret.client_token)

      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
      expect(ended.body.outcome).toBe('revoked')
      expect(await reads(body.secret.client_token)).toBe(403)
    })

    test('wrapped, it is unwrapped by its caller and dies with its grant', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders', delivery: 'wrapped' })
      const opened = await vaultApi(world.stack.vault.address, body.secret.token ?? '')('POST', 'sys/wrapping/unwrap')
      const token = (opened.body as { auth: { client_token: string } }).auth.client_token
      expect(await reads(token)).toBe(200)
      await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
      expect(await reads(token)).toBe(403)
    })

    test('a token that somebody ended in Vault is found gone', async () => {
      const { body } = await world.issue('checkout', { purpose: 'read-orders' })
      await world.root('POST', 'auth/token/revoke', { token: body.secret.client_token })
      await world.api('POST', '/v1/reconcile', { as: 'dana@security', body: {} })
      const ended = await world.entries({ kind: 'grant.ended', grant: body.grant })
      expect(ended).toMatchObject([{ cause: 'found_gone', outcome: 'gone' }])
    })
  })
}
