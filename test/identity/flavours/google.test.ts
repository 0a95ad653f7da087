import { afterAll, beforeAll, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../../support/issuer.ts'
import { type TestPlatform, testPlatform } from './platform.ts'

const url = 'https://accounts.google.com'
const sub = '112179062720391305885'
// Google writes no `jti` and no `nbf`.
const account = { sub, azp: sub, jti: undefined }
const addressed = { ...account, email: 'checkout@shop-prod.iam.gserviceaccount.com', email_verified: true }
const engine = {
  instance_confidentiality: 1,
  instance_creation_timestamp: 1_686_491_081,
  instance_id: '4570452845155348778',
  instance_name: 'checkout-1',
  project_id: 'shop-prod',
  project_number: 1_071_284_184_436,
  zone: 'europe-west1-b',
}
const instance = { ...addressed, google: { compute_engine: engine } }
const on = (change: object): Record<string, unknown> => ({
  ...instance,
  google: { compute_engine: { ...engine, ...change } },
})

let issuer: TestIssuer
let google: TestPlatform

beforeAll(async () => {
  issuer = await startIssuer({ alg: 'RS256' })
  google = testPlatform(issuer, {
    flavour: 'google',
    url,
    environment: { claim: 'google.compute_engine.project_id', map: { 'shop-prod': 'prod' } },
  })
})
afterAll(() => issuer.close())

it('the instance is the run, and its project the environment', async () => {
  expect(await google.identity(instance)).toMatchObject({
    subject: sub,
    run: 'instance/4570452845155348778',
    environment: 'prod',
  })
  const other = await google.identity(account)
  expect([other.run, other.environment]).toEqual([undefined, undefined])
})

it.each([
  ['an account made by the IAM API, without email', account],
  ['an account with email', addressed],
  [
    'the default account of Compute Engine',
    { ...addressed, email: '1071284184436-compute@developer.gserviceaccount.com' },
  ],
  ['the account of an App Engine app', { ...addressed, email: 'shop-prod@appspot.gserviceaccount.com' }],
  ['an account that signed for itself, so that azp is its address', { ...addressed, azp: addressed.email }],
  ['an instance', instance],
  ['an instance of a project of a domain', on({ project_id: 'example.com:shop' })],
])('a token of %s is taken', async (_, claims) => {
  expect(await google.judge(claims)).toBe('ok')
})

const person = {
  ...account,
  azp: '407408718192.apps.googleusercontent.com',
  email: 'alice@gmail.com',
  email_verified: true,
}
it.each([
  ['a person', person, 'google.email: "alice@gmail.com" is not a service account'],
  ['a person of a domain', { ...person, email: 'alice@example.com', hd: 'example.com' }, /^google.email: /],
  ['a person without email', { ...person, email: undefined }, /^google.holder: azp "4074/],
  ['nobody who says for whom it is', { ...account, azp: undefined }, /^google.holder: azp nothing/],
  [
    'an account that is not verified',
    { ...addressed, email_verified: false },
    /^google.email: email_verified is false/,
  ],
  ['an account verified in words', { ...addressed, email_verified: 'true' }, /^google.email: email_verified is "true"/],
  ['an account that says nothing of it', { ...addressed, email_verified: undefined }, /email_verified is nothing/],
  ['an address that only looks alike', { ...addressed, email: 'a@evil-gserviceaccount.com' }, /^google.email: /],
  ['an address with two domains', { ...addressed, email: 'a@evil.test@x.iam.gserviceaccount.com' }, /^google.email: /],
  ['the bare domain', { ...addressed, email: 'a@.gserviceaccount.com' }, /^google.email: /],
  ['a list of addresses', { ...addressed, email: [addressed.email] }, /^google.email: a list/],
  ['a subject that is no number', { ...account, sub: 'checkout', azp: 'checkout' }, /^google.subject: /],
  ['a SPIFFE ID', { ...account, sub: 'spiffe://example.org/a', azp: 'spiffe://example.org/a' }, /^google.subject: /],
  ['an instance without id', on({ instance_id: undefined }), /^google.instance: the instance_id nothing/],
  ['an instance whose id is a number', on({ instance_id: 4_570_452 }), /^google.instance: /],
  ['an instance with a path for id', on({ instance_id: '../1' }), /^google.instance: /],
  ['an instance without project', on({ project_id: undefined }), /is not the id of a project$/],
  ['a project whose number is text', on({ project_number: '1071284184436' }), /is not the number of a project$/],
  ['an instance that is a list', { ...addressed, google: { compute_engine: [engine] } }, /^google.instance: /],
  ['a place that is text', { ...addressed, google: 'compute_engine' }, /^google.instance: /],
])('a token of %s is refused', async (_, claims, outcome) => {
  const why = await google.judge(claims)
  if (typeof outcome === 'string') expect(why).toBe(outcome)
  else expect(why).toMatch(outcome)
})
