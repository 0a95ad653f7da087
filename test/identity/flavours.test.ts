import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { scene } from './setup.ts'

let issuer: TestIssuer

beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())

describe('kubernetes', () => {
  const sub = 'system:serviceaccount:orders:checkout'
  const uid = '0b5ee3ae-59b5-4f0e-9a2c-6d2f5a1f2c11'
  const bound = {
    namespace: 'orders',
    serviceaccount: { name: 'checkout', uid: '5f6f3f6e-1111-4222-8333-444455556666' },
    pod: { name: 'checkout-0', uid },
    node: { name: 'n1', uid: 'x' },
    warnafter: 1,
  }
  const judge = async (claims: Record<string, unknown>): Promise<string> => {
    const s = scene(issuer, { flavour: 'kubernetes' })
    return s.whyNot(await s.sign({ sub, 'kubernetes.io': bound, ...claims }))
  }

  it('names the pod as the run', async () => {
    const s = scene(issuer, { flavour: 'kubernetes' })
    expect((await s.identity(await s.sign({ sub, 'kubernetes.io': bound }))).run).toBe(`pod/${uid}`)
    const { pod: _, ...podless } = bound
    expect((await s.identity(await s.sign({ sub, 'kubernetes.io': podless }))).run).toBeUndefined()
    expect((await s.identity(await s.sign({ sub }))).run).toBeUndefined()
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
    expect(await judge({ sub: wrong })).toMatch(/^kubernetes.subject: /)
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
    expect(await judge({ 'kubernetes.io': claim })).toMatch(/^kubernetes.binding: /)
  })
})

describe('github-actions', () => {
  const ids = { repository_id: '456', repository_owner_id: '123' }
  const names = { repository: 'octo/shop', repository_owner: 'octo' }
  const byName = { sub: 'repo:octo/shop:ref:refs/heads/main', ...ids, ...names, run_id: '99', run_attempt: '2' }
  const immutable = { ...byName, sub: 'repo:octo@123/shop@456:ref:refs/heads/main' }
  const judge = async (claims: Record<string, unknown>): Promise<string> => {
    const s = scene(issuer, { flavour: 'github-actions' })
    return s.whyNot(await s.sign(claims))
  }

  it('reads both forms of sub, and names the run and its attempt', async () => {
    const s = scene(issuer, { flavour: 'github-actions' })
    for (const claims of [byName, immutable]) {
      expect((await s.identity(await s.sign(claims))).run).toBe('run/99/attempt/2')
    }
    expect((await s.identity(await s.sign({ ...byName, run_attempt: undefined }))).run).toBeUndefined()
  })

  it('says when the name is all there is', async () => {
    const s = scene(issuer, { flavour: 'github-actions' })
    const detailOf = async (claims: Record<string, unknown>): Promise<string | undefined> =>
      (await s.verifier.explain(await s.sign(claims))).reasons.find(({ rule }) => rule === 'github.subject')?.detail
    expect(await detailOf(byName)).toContain('by name only')
    expect(await detailOf(immutable)).toContain('immutable ids')
  })

  it.each([
    ['the repository id', { ...immutable, repository_id: '457' }],
    ['the owner id', { ...immutable, repository_owner_id: '124' }],
    ['the repository, in the immutable form', { ...immutable, repository: 'octo/other' }],
    ['the repository', { ...byName, repository: 'octo/other' }],
    ['the owner', { ...byName, repository_owner: 'mallory' }],
    ['the repository, by a claim that is not text', { ...byName, repository: ['octo/shop'] }],
  ])('sub and claims that disagree on %s are refused', async (_, claims) => {
    expect(await judge(claims)).toMatch(/^github.subject: sub says /)
  })

  it.each([
    ['repo:octo@123/shop:ref:x'],
    ['repo:octo/shop@456:ref:x'],
    ['repo:octo@abc/shop@456:ref:x'],
    ['repo:octo/shop'],
    ['repo:octo/shop/more:ref:x'],
    ['repo:/shop:ref:x'],
    ['repo:octo/:ref:x'],
    ['repo:oc to/shop:ref:x'],
  ])('%s is neither form', async (sub) => {
    expect(await judge({ ...names, sub })).toMatch(/^github.subject: .* is neither/)
  })

  it('a sub of another form needs the repository in its claim', async () => {
    expect(await judge({ ...byName, sub: 'repository_owner:octo:environment:prod' })).toBe('ok')
    expect(await judge({ sub: 'repository_owner:octo:environment:prod' })).toMatch(/^github.subject: neither/)
    expect(await judge({ sub: 'environment:prod', repository: 7 })).toMatch(/^github.subject: neither/)
  })

  it('ids are digits', async () => {
    for (const name of ['repository_id', 'repository_owner_id', 'run_id', 'run_attempt']) {
      for (const value of [456, '', '4a', '-1', '1'.repeat(21), null, '../1']) {
        expect(await judge({ ...byName, [name]: value }), `${name} ${value}`).toMatch(/^github.ids: /)
      }
    }
  })
})

describe('gitlab', () => {
  const claims = {
    sub: 'project_path:shop/tools/deploy:ref_type:branch:ref:main',
    project_path: 'shop/tools/deploy',
    project_id: '22',
    namespace_id: '72',
    pipeline_id: '1212',
    job_id: '1213',
    user_id: '42',
    runner_id: 1,
  }
  const judge = async (over: Record<string, unknown>): Promise<string> => {
    const s = scene(issuer, { flavour: 'gitlab' })
    return s.whyNot(await s.sign({ ...claims, ...over }))
  }

  it('names the job as the run', async () => {
    const s = scene(issuer, { flavour: 'gitlab' })
    expect((await s.identity(await s.sign(claims))).run).toBe('job/1213')
    const { job_id: _, ...jobless } = claims
    expect((await s.identity(await s.sign(jobless))).run).toBeUndefined()
  })

  it.each([
    ['another project', { project_path: 'shop/tools/other' }],
    ['a project that only begins alike', { project_path: 'shop/tools/deploy-2' }],
    ['no project', { project_path: undefined }],
    ['a project that is a list', { project_path: ['shop/tools/deploy'] }],
  ])('a sub and a claim that name %s are refused', async (_, over) => {
    expect(await judge(over)).toMatch(/^gitlab.subject: /)
  })

  it('takes a sub of another form, and the same path in another case', async () => {
    expect(await judge({ sub: 'pipeline:shop' })).toBe('ok')
    expect(await judge({ project_path: 'Shop/Tools/Deploy' })).toBe('ok')
  })

  it('ids are digits', async () => {
    for (const name of ['project_id', 'namespace_id', 'pipeline_id', 'job_id', 'user_id']) {
      for (const value of [22, '', '4a', '-1', '1'.repeat(21), null, '../1']) {
        expect(await judge({ [name]: value }), `${name} ${value}`).toMatch(/^gitlab.ids: /)
      }
    }
  })
})
