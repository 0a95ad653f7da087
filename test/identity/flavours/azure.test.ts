import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../../support/issuer.ts'
import { type TestPlatform, testPlatform } from './platform.ts'

const tid = '63122682-bd96-47fd-97ab-95a76ce699a6'
const oid = '72243241-f194-45f3-987d-eeb347b83b69'
const application = '1671f074-56e2-4c37-873b-b7b07a120b18'
const urls = { v1: `https://sts.windows.net/${tid}/`, v2: `https://login.microsoftonline.com/${tid}/v2.0` }
// What Entra adds for itself, and that nobody should read.
const opaque = {
  aio: 'E2NgYNhxO2fe9z25T5iljKc7a+zfDQA=',
  rh: '0.Aa4AgiYSY5a9.',
  uti: '4GOPt79GP0if650O0N7iAA',
  jti: undefined,
}
const v1 = { tid, oid, sub: oid, ver: '1.0', appid: application, appidacr: '2', idp: urls.v1, idtyp: 'app', ...opaque }
const v2 = { tid, oid, sub: oid, ver: '2.0', azp: application, azpacr: '2', idtyp: 'app', ...opaque }
const machine =
  '/subscriptions/51fbbfac-01fc-4cce-91bf-ec4860f8cc60/resourcegroups/shop/providers/Microsoft.Compute/virtualMachines/checkout'

let issuer: TestIssuer
let one: TestPlatform
let two: TestPlatform

beforeAll(async () => {
  issuer = await startIssuer({ alg: 'RS256' })
  const environment = { claim: 'oid', map: { [oid]: 'prod' } }
  one = testPlatform(issuer, { flavour: 'azure', url: urls.v1, environment })
  two = testPlatform(issuer, { flavour: 'azure', url: urls.v2, environment })
})
afterAll(() => issuer.close())

describe('a token of an application or a managed identity', () => {
  it('names its principal and no run', async () => {
    const identity = await one.identity({ ...v1, xms_mirid: machine })
    expect(identity).toMatchObject({ flavour: 'azure', subject: oid, environment: 'prod' })
    expect(identity.run).toBeUndefined()
  })

  it.each([
    ['version 1', () => one.judge(v1)],
    ['version 1, of a virtual machine', () => one.judge({ ...v1, xms_mirid: machine })],
    ['version 1, in a tenant that does not write idtyp', () => one.judge({ ...v1, idtyp: undefined })],
    ['version 2', () => two.judge(v2)],
    [
      'version 2, with the name of the application as in version 1',
      () => two.judge({ ...v2, azp: undefined, appid: application }),
    ],
    ['version 2, with roles', () => two.judge({ ...v2, roles: ['Writ.Use'] })],
    ['either, with the thumbprint of the key', () => one.judge(v1, { header: { x5t: 'nOo3ZDrODXEK1jKWhXslHR_KXEg' } })],
  ])('of %s is taken', async (_, judge) => {
    expect(await judge()).toBe('ok')
  })
})

const another = '00000000-0000-4000-8000-000000000001'
it.each([
  ['another tenant', { tid: another }, `azure.tenant: iss says tenant "${tid}", tid "${another}"`],
  ['no tenant', { tid: undefined }, /^azure.tenant: .* tid nothing$/],
  ['the other version', { ver: '1.0' }, 'azure.tenant: iss is that of version 2.0, ver says "1.0"'],
  ['a version that is a number', { ver: 2 }, /^azure.tenant: /],
  ['no version', { ver: undefined }, /^azure.tenant: /],
  ['a person', { idtyp: 'user', scp: 'Writ.Use' }, 'azure.workload: it has scp, so the application acts for a person'],
  ['a person, without scp', { idtyp: 'user' }, 'azure.workload: idtyp is "user", not that of a workload'],
  ['an application for a person', { scp: 'user_impersonation' }, /^azure.workload: it has scp/],
  ['an application for a person who allowed nothing', { scp: '' }, /^azure.workload: it has scp/],
  ['perhaps a person', { idtyp: undefined, sub: 'dXNlcg' }, /^azure.workload: there is no idtyp and sub is not oid/],
  ['a device', { idtyp: 'device' }, /^azure.workload: idtyp is "device"/],
  ['no principal', { oid: undefined }, /^azure.principal: oid nothing/],
  ['a principal in capitals', { oid: oid.toUpperCase() }, /^azure.principal: /],
  ['no application', { azp: undefined }, /^azure.principal: neither appid nor azp/],
  ['an application that is a URL', { azp: 'https://shop.example.com' }, /^azure.principal: /],
  ['two applications', { appid: another }, /^azure.principal: appid says .*, azp /],
  ['a resource that is none', { xms_mirid: 'shop' }, /^azure.resource: /],
  ['a list of resources', { xms_mirid: [machine] }, /^azure.resource: a list/],
])('a token of %s is refused', async (_, change, outcome) => {
  const why = await two.judge({ ...v2, ...change })
  if (typeof outcome === 'string') expect(why).toBe(outcome)
  else expect(why).toMatch(outcome)
})

it.each([
  'https://login.microsoftonline.com/common/v2.0',
  'https://login.microsoftonline.com/organizations/v2.0',
  `https://login.microsoftonline.com/${tid.toUpperCase()}/v2.0`,
  `https://login.microsoftonline.com/${tid}/`,
  `https://sts.windows.net/${tid}/v2.0`,
  `https://sts.windows.net/${tid}`,
  `https://login.microsoftonline.com.evil.test/${tid}/v2.0`,
  `http://login.microsoftonline.com/${tid}/v2.0`,
])('an Issuer of %s takes no token, whatever tid says', async (url) => {
  expect(await testPlatform(issuer, { flavour: 'azure', url }).judge(v2)).toMatch(/is not the issuer of one tenant$/)
})
