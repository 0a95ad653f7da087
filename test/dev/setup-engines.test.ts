import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { setUpVault } from '../../src/dev/setup.ts'
import { startDevVault } from '../../src/dev/vault/server.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import type { PolicySet } from '../../src/policy/compile.ts'
import { base, loadSet } from '../policy/organisation.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { orderFor } from '../support/credential-order.ts'
import { vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** The credentials of one document, as the loader hands them on. */
async function policiesWith(name: string, document: string): Promise<PolicySet> {
  const whole = `kind: Credential\nname: ${name}\nenvironment: prod\nsensitivity: low\nttl: { max: 1h }\n${document}`
  const set = await loadSet({ ...base, 'credential.yaml': whole })
  return { ...set, credentials: set.credentials.filter((credential) => credential.name === name) }
}

const options = (server: { address: string; rootToken: string }, policies: PolicySet) => ({
  address: server.address,
  token: server.rootToken,
  policies,
  databaseUrl: 'postgresql://nobody@127.0.0.1:1/none',
  clock: systemClock,
  log: silentLog,
})

const readerToken = 'engine: token\nrole: app\npolicies: [app-reader]\n'
const staff = 'engine: ldap\nmount: ldap\nrole: staff\n'

test('a token role and its policies are set up; a policy that is there is left as it is', async () => {
  const vault = await startDevVault()
  stops.push(vault.stop)
  const api = vaultApi(vault.address, vault.rootToken)
  const policies = await policiesWith('app-token', readerToken)
  const { brokerToken } = await setUpVault(options(vault, policies))
  expect(text((await api('GET', 'sys/policies/acl/app-reader')).body, 'data', 'policy')).toContain('allows nothing yet')
  await api('PUT', 'sys/policies/acl/app-reader', { policy: 'path "secret/data/a" { capabilities = ["read"] }' })
  await setUpVault(options(vault, policies))
  expect(text((await api('GET', 'sys/policies/acl/app-reader')).body, 'data', 'policy')).toContain('secret/data/a')
  const auth = { method: 'token', token: brokerToken } as const
  const session = createVaultSession({ address: vault.address, auth, clock: systemClock, log: silentLog })
  stops.push(session.close)
  const order = orderFor({ engine: 'token', role: 'app', policies: ['app-reader'] })
  const minted = await createEngines(session, systemClock).get('token')?.mint(order)
  expect(minted?.secret.reveal()).toMatchObject({ policies: ['app-reader'] })
})

test('an engine that the development server does not have is refused with what to do', async () => {
  const vault = await startDevVault()
  stops.push(vault.stop)
  const refused = setUpVault(options(vault, await policiesWith('staff-ldap', staff)))
  await expect(refused).rejects.toMatchObject({
    name: 'SetupRefused',
    message: expect.stringContaining('use writ dev --vault bao (ldap, kubernetes, rabbitmq), or --vault URL'),
  })
})

test('whatever a Credential describes needs a Vault of yours', async () => {
  const vault = await startDevVault()
  stops.push(vault.stop)
  const nomad = 'engine: leased\nmount: nomad\nmethod: read\npath: creds/deploy\nresponse: { fields: [secret_id] }\n'
  const refused = setUpVault(options(vault, await policiesWith('nomad-deploy', nomad)))
  await expect(refused).rejects.toMatchObject({ name: 'SetupRefused', message: expect.stringContaining('nomad') })
})

test.skipIf(!baoAvailable())('needs bao: a mount is made for ldap, and what is missing is said', async () => {
  const bao = await startBao({ mode: 'dev' })
  stops.push(bao.stop)
  const said: string[] = []
  const policies = await policiesWith('staff-ldap', staff)
  const { brokerToken } = await setUpVault({ ...options(bao, policies), onProgress: (step) => said.push(step) })
  expect(said).toEqual([expect.stringContaining('cannot know the other side of ldap')])
  expect(brokerToken).toBeInstanceOf(Secret)
  const { body } = await vaultApi(bao.address, bao.rootToken)('GET', 'sys/mounts')
  expect((body as { data: object }).data).toMatchObject({ 'ldap/': { type: 'ldap' } })
})
