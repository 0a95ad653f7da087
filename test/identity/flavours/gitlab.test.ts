import { describe, expect, it } from 'vitest'
import { judgeSamples, platform, type Sample } from './samples.ts'

const url = 'https://gitlab.com'
const on = platform('gitlab', url)

const claims = {
  namespace_id: '72',
  namespace_path: 'shop/tools',
  project_id: '22',
  project_path: 'shop/tools/deploy',
  user_id: '42',
  user_login: 'mona',
  user_email: 'mona@example.com',
  user_access_level: 'developer',
  pipeline_id: '1212',
  pipeline_source: 'push',
  job_id: '1213',
  ref: 'main',
  ref_type: 'branch',
  ref_path: 'refs/heads/main',
  ref_protected: 'true',
  runner_id: 1,
  runner_environment: 'gitlab-hosted',
  sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
  project_visibility: 'private',
  ci_config_ref_uri: 'gitlab.com/shop/tools/deploy//.gitlab-ci.yml@refs/heads/main',
  ci_config_sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
  jti: '235b3a54-b797-45c7-ae9a-f72d7bc6ef5b',
  sub: 'project_path:shop/tools/deploy:ref_type:branch:ref:main',
}
const run = 'job/1213'
const fork = { project_id: '99', project_path: 'mallory/deploy', namespace_id: '98', namespace_path: 'mallory' }

const samples: readonly Sample[] = [
  { what: 'a push to a protected branch', claims, run },
  {
    what: 'a branch that nobody protects',
    claims: {
      ...claims,
      ref: 'try',
      ref_protected: 'false',
      sub: 'project_path:shop/tools/deploy:ref_type:branch:ref:try',
    },
    run,
  },
  {
    what: 'a tag',
    claims: { ...claims, ref: 'v1', ref_type: 'tag', sub: 'project_path:shop/tools/deploy:ref_type:tag:ref:v1' },
    run,
  },
  {
    what: 'a protected environment',
    claims: { ...claims, environment: 'production', environment_protected: 'true', deployment_tier: 'production' },
    run,
  },
  { what: 'a schedule', claims: { ...claims, pipeline_source: 'schedule' }, run },
  {
    what: 'a merge request of a fork, whose project is the fork',
    claims: {
      ...claims,
      ...fork,
      pipeline_source: 'merge_request_event',
      ref_protected: 'false',
      job_project_id: '22',
      job_project_path: 'shop/tools/deploy',
      job_namespace_id: '72',
      job_namespace_path: 'shop/tools',
      sub: 'project_path:mallory/deploy:ref_type:branch:ref:main',
    },
    run,
  },
  {
    what: 'a runner of their own',
    claims: { ...claims, runner_id: 4711, runner_environment: 'self-hosted' },
    run,
  },
  {
    what: 'a user with other accounts',
    claims: { ...claims, user_identities: [{ provider: 'github', extern_uid: '2' }] },
    run,
  },
  {
    what: 'a fork that calls itself the project',
    claims: { ...claims, ...fork },
    refused: /^gitlab.subject: sub says "shop\/tools\/deploy", project_path "mallory\/deploy"$/,
  },
  { what: 'a project id that is a number', claims: { ...claims, project_id: 22 }, refused: /^gitlab.ids: project_id / },
]

describe('tokens as GitLab signs them', () => judgeSamples(on, url, samples))

describe('gitlab', () => {
  it('names the job as the run', async () => {
    const s = on.scene()
    expect((await s.identity(await s.sign({ iss: url, ...claims }))).run).toBe('job/1213')
    const { job_id: _, ...jobless } = claims
    expect((await s.identity(await s.sign({ iss: url, ...jobless }))).run).toBeUndefined()
  })

  it.each([
    ['another project', { project_path: 'shop/tools/other' }],
    ['a project that only begins alike', { project_path: 'shop/tools/deploy-2' }],
    ['no project', { project_path: undefined }],
    ['a project that is a list', { project_path: ['shop/tools/deploy'] }],
  ])('a sub and a claim that name %s are refused', async (_, over) => {
    expect(await on.judge({ ...claims, ...over })).toMatch(/^gitlab.subject: /)
  })

  it('takes a sub of another form, and the same path in another case', async () => {
    expect(await on.judge({ ...claims, sub: 'pipeline:shop' })).toBe('ok')
    expect(await on.judge({ ...claims, project_path: 'Shop/Tools/Deploy' })).toBe('ok')
  })

  it('ids are digits', async () => {
    for (const name of ['project_id', 'namespace_id', 'pipeline_id', 'job_id', 'user_id']) {
      for (const value of [22, '', '4a', '-1', '1'.repeat(21), null, '../1']) {
        expect(await on.judge({ ...claims, [name]: value }), `${name} ${value}`).toMatch(/^gitlab.ids: /)
      }
    }
  })
})
