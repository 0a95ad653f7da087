import { describe, expect, it } from 'vitest'
import { judgeSamples, platform, type Sample } from './samples.ts'

const url = 'https://token.actions.githubusercontent.com'
const on = platform('github-actions', url)

const claims = {
  jti: 'b1f3c1ce-1c7f-4a0c-9a39-3f1a5f7f8f52',
  sub: 'repo:octo@123/shop@456:ref:refs/heads/main',
  ref: 'refs/heads/main',
  sha: '1f0c1e0e7a4e2c55c8b3c41d8c7d1b0b7a0f2f11',
  repository: 'octo/shop',
  repository_owner: 'octo',
  run_id: '7001',
  run_number: '42',
  run_attempt: '1',
  repository_visibility: 'private',
  repository_id: '456',
  repository_owner_id: '123',
  actor_id: '583231',
  actor: 'octocat',
  workflow: 'deploy',
  head_ref: '',
  base_ref: '',
  event_name: 'push',
  ref_protected: 'true',
  ref_type: 'branch',
  workflow_ref: 'octo/shop/.github/workflows/deploy.yml@refs/heads/main',
  workflow_sha: '1f0c1e0e7a4e2c55c8b3c41d8c7d1b0b7a0f2f11',
  job_workflow_ref: 'octo/shop/.github/workflows/deploy.yml@refs/heads/main',
  job_workflow_sha: '1f0c1e0e7a4e2c55c8b3c41d8c7d1b0b7a0f2f11',
  check_run_id: '39561250401',
  runner_environment: 'github-hosted',
}
const run = 'run/7001/attempt/1'

const samples: readonly Sample[] = [
  { what: 'a push to a branch, of a repository with immutable subjects', claims, run },
  { what: 'the same of an older repository', claims: { ...claims, sub: 'repo:octo/shop:ref:refs/heads/main' }, run },
  {
    what: 'a tag',
    claims: { ...claims, sub: 'repo:octo/shop:ref:refs/tags/v1.4.0', ref: 'refs/tags/v1.4.0', ref_type: 'tag' },
    run,
  },
  {
    what: 'an environment',
    claims: { ...claims, sub: 'repo:octo@123/shop@456:environment:production', environment: 'production' },
    run,
  },
  {
    what: 'an environment with a colon, which the subject writes as %3A',
    claims: { ...claims, sub: 'repo:octo@123/shop@456:environment:Production%3AV1', environment: 'Production:V1' },
    run,
  },
  {
    what: 'a pull request',
    claims: {
      ...claims,
      sub: 'repo:octo/shop:pull_request',
      event_name: 'pull_request',
      ref: 'refs/pull/7/merge',
      head_ref: 'try-it',
      base_ref: 'main',
    },
    run,
  },
  {
    what: 'a reusable workflow of another repository, tried again',
    claims: { ...claims, job_workflow_ref: 'octo/ci/.github/workflows/deploy.yml@refs/tags/v3', run_attempt: '2' },
    run: 'run/7001/attempt/2',
  },
  {
    what: 'a subject of its own choice',
    claims: {
      ...claims,
      sub: 'repository_owner_id:123:job_workflow_ref:octo/ci/.github/workflows/deploy.yml@refs/tags/v3',
    },
    run,
  },
  {
    what: 'a repository that was renamed in between',
    claims: { ...claims, sub: 'repo:octo@123/shop@456:ref:refs/heads/main', repository: 'octo/store' },
    refused: /^github.subject: sub says repository "octo\/shop", the claim "octo\/store"$/,
  },
  {
    what: 'somebody who took over the name',
    claims: { ...claims, repository_id: '999', repository_owner_id: '888' },
    refused: /^github.subject: sub says repository_owner_id "123", the claim "888"$/,
  },
]

describe('tokens as GitHub signs them', () => judgeSamples(on, url, samples))

it('GitHub Enterprise Server signs under a path of its host', async () => {
  const server = 'https://github.corp.example/_services/token'
  const s = on.scene({ url: server })
  expect((await s.identity(await s.sign({ ...claims, iss: server }))).run).toBe(run)
  expect(await s.whyNot(await s.sign({ ...claims, iss: url }))).toMatch(/^issuer: /)
})

describe('github-actions', () => {
  const ids = { repository_id: '456', repository_owner_id: '123' }
  const names = { repository: 'octo/shop', repository_owner: 'octo' }
  const byName = { sub: 'repo:octo/shop:ref:refs/heads/main', ...ids, ...names, run_id: '99', run_attempt: '2' }
  const immutable = { ...byName, sub: 'repo:octo@123/shop@456:ref:refs/heads/main' }

  it('reads both forms of sub, and names the run and its attempt', async () => {
    const s = on.scene()
    for (const claims of [byName, immutable]) {
      expect((await s.identity(await s.sign({ iss: url, ...claims }))).run).toBe('run/99/attempt/2')
    }
    expect((await s.identity(await s.sign({ iss: url, ...byName, run_attempt: undefined }))).run).toBeUndefined()
  })

  it('says when the name is all there is', async () => {
    const s = on.scene()
    const detailOf = async (claims: Record<string, unknown>): Promise<string | undefined> =>
      (await s.verifier.explain(await s.sign({ iss: url, ...claims }))).reasons.find(
        ({ rule }) => rule === 'github.subject',
      )?.detail
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
    expect(await on.judge(claims)).toMatch(/^github.subject: sub says /)
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
    expect(await on.judge({ ...names, sub })).toMatch(/^github.subject: .* is neither/)
  })

  it('a sub of another form needs the repository in its claim', async () => {
    expect(await on.judge({ ...byName, sub: 'repository_owner:octo:environment:prod' })).toBe('ok')
    expect(await on.judge({ sub: 'repository_owner:octo:environment:prod' })).toMatch(/^github.subject: neither/)
    expect(await on.judge({ sub: 'environment:prod', repository: 7 })).toMatch(/^github.subject: neither/)
  })

  it('ids are digits', async () => {
    for (const name of ['repository_id', 'repository_owner_id', 'run_id', 'run_attempt']) {
      for (const value of [456, '', '4a', '-1', '1'.repeat(21), null, '../1']) {
        expect(await on.judge({ ...byName, [name]: value }), `${name} ${value}`).toMatch(/^github.ids: /)
      }
    }
  })
})
