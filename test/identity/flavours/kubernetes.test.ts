import { describe, expect, it } from 'vitest'
import { judgeSamples, platform, type Sample } from './samples.ts'

const url = 'https://oidc.eks.eu-west-1.amazonaws.com/id/0A1B2C3D4E5F60718293A4B5C6D7E8F9'
const on = platform('kubernetes', url)

const uid = '0b5ee3ae-59b5-4f0e-9a2c-6d2f5a1f2c11'
const bound = {
  namespace: 'orders',
  node: { name: 'ip-10-0-3-17.eu-west-1.compute.internal', uid: '7c1f0d1e-6a55-4d59-8b3a-0d9c34e0c1aa' },
  pod: { name: 'checkout-6d5f9c7b8-x2k4q', uid },
  serviceaccount: { name: 'checkout', uid: '5f6f3f6e-1111-4222-8333-444455556666' },
}
const sub = 'system:serviceaccount:orders:checkout'
const aud = ['https://writ.example.com']
const pod = { aud, sub, 'kubernetes.io': bound }
const { node: _node, ...beforeNodes } = bound
const { pod: _pod, ...unbound } = bound

const samples: readonly Sample[] = [
  { what: 'a projected token of a pod (1.32)', claims: pod, run: `pod/${uid}` },
  {
    what: 'one close to its rotation',
    claims: { ...pod, 'kubernetes.io': { ...bound, warnafter: 1764021600 } },
    run: `pod/${uid}`,
  },
  {
    what: 'one of a cluster before 1.29',
    claims: { ...pod, jti: undefined, 'kubernetes.io': beforeNodes },
    run: `pod/${uid}`,
  },
  { what: 'one that kubectl create token made', claims: { ...pod, 'kubernetes.io': unbound } },
  {
    what: 'one bound to a secret',
    claims: { ...pod, 'kubernetes.io': { ...unbound, secret: { name: 'ci', uid } } },
  },
  {
    what: 'one with the API server as a second audience',
    claims: { ...pod, aud: [...aud, 'https://kubernetes.default.svc'] },
    run: `pod/${uid}`,
  },
  {
    what: 'the one every pod is given, which is for the API server',
    claims: { ...pod, aud: ['https://kubernetes.default.svc.cluster.local'] },
    refused: /^audience: /,
  },
  {
    what: 'one out of a secret, which has neither end nor audience',
    claims: {
      sub,
      aud: undefined,
      exp: undefined,
      iat: undefined,
      jti: undefined,
      'kubernetes.io/serviceaccount/namespace': 'orders',
      'kubernetes.io/serviceaccount/secret.name': 'checkout-token-8vq2p',
      'kubernetes.io/serviceaccount/service-account.name': 'checkout',
      'kubernetes.io/serviceaccount/service-account.uid': bound.serviceaccount.uid,
    },
    refused: /^audience: .*nobody/,
  },
  {
    what: 'the same with an audience, which still has no end',
    claims: { sub, aud, exp: undefined },
    refused: /^expiry: /,
  },
  {
    what: 'one of a node',
    claims: { aud, sub: 'system:node:ip-10-0-3-17', 'kubernetes.io': bound },
    refused: /^kubernetes.subject: /,
  },
]

describe('tokens as clusters sign them', () => judgeSamples(on, url, samples))

describe('kubernetes', () => {
  it('names the pod as the run', async () => {
    const s = on.scene()
    expect((await s.identity(await s.sign({ iss: url, sub, 'kubernetes.io': bound }))).run).toBe(`pod/${uid}`)
    const { pod: _, ...podless } = bound
    expect((await s.identity(await s.sign({ iss: url, sub, 'kubernetes.io': podless }))).run).toBeUndefined()
    expect((await s.identity(await s.sign({ iss: url, sub }))).run).toBeUndefined()
  })

  it.each([
    ['system:serviceaccount:orders'],
    ['system:serviceaccount:orders:'],
    ['system:serviceaccount::checkout'],
    ['system:serviceaccount:orders:checkout:x'],
    ['system:serviceaccount:orders:checkout\n'],
    ['system:serviceaccount:or/ders:checkout'],
    ['system:serviceaccount:*:checkout'],
    ['system:node:n1'],
    ['orders:checkout'],
  ])('%j is not a service account', async (wrong) => {
    expect(await on.judge({ sub: wrong })).toMatch(/^kubernetes.subject: /)
  })

  it.each([
    ['another namespace', { ...bound, namespace: 'payments' }],
    ['another service account', { ...bound, serviceaccount: { name: 'admin', uid } }],
    ['no namespace', { ...bound, namespace: undefined }],
    ['no service account', { ...bound, serviceaccount: undefined }],
    ['a service account that is text', { ...bound, serviceaccount: 'checkout' }],
    ['a pod without uid', { ...bound, pod: { name: 'checkout-0' } }],
    ['a pod uid with a path in it', { ...bound, pod: { uid: '../x' } }],
    ['text', 'orders'],
    ['a list', [bound]],
    ['null', null],
  ])('kubernetes.io that says %s is refused', async (_, claim) => {
    expect(await on.judge({ sub, 'kubernetes.io': claim })).toMatch(/^kubernetes.binding: /)
  })
})
