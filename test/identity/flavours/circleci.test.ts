import { describe, expect, it } from 'vitest'
import { judgeSamples, platform, type Sample } from './samples.ts'

const organization = 'c9035eb6-6eb2-4c85-8a81-d9ed6a1d1d1e'
const other = 'd9035eb6-6eb2-4c85-8a81-d9ed6a1d1d1e'
const project = '3a2f5b1c-7d4e-4f6a-9b8c-0d1e2f3a4b5c'
const url = `https://oidc.circleci.com/org/${organization}`
const on = platform('circleci', url)

const job = '1f2e3d4c-5b6a-4978-8695-a4b3c2d1e0f9'
const first = `org/${organization}/project/${project}/user/5e6f7a8b-9c0d-4e1f-a2b3-c4d5e6f7a8b9`
const second = `${first}/vcs-origin/github.com/octo/shop/vcs-ref/refs/heads/main`
const claims = {
  sub: second,
  jti: undefined,
  'oidc.circleci.com/context-ids': ['7b6a5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d'],
  'oidc.circleci.com/job-id': job,
  'oidc.circleci.com/org-id': organization,
  'oidc.circleci.com/pipeline-definition-id': '0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d',
  'oidc.circleci.com/pipeline-id': '9f8e7d6c-5b4a-4c3d-8e2f-1a0b9c8d7e6f',
  'oidc.circleci.com/project-id': project,
  'oidc.circleci.com/ssh-rerun': false,
  'oidc.circleci.com/vcs-origin': 'github.com/octo/shop',
  'oidc.circleci.com/vcs-ref': 'refs/heads/main',
  'oidc.circleci.com/workflow-id': '2b3c4d5e-6f7a-4b8c-9d0e-1f2a3b4c5d6e',
}
const run = `job/${job}`
const { 'oidc.circleci.com/vcs-origin': _origin, 'oidc.circleci.com/vcs-ref': _ref, ...byWebhook } = claims

const samples: readonly Sample[] = [
  { what: 'the second form of the subject', claims, run },
  { what: 'the first form', claims: { ...claims, sub: first }, run },
  { what: 'a job without a context', claims: { ...claims, 'oidc.circleci.com/context-ids': [] }, run },
  {
    what: 'a tag',
    claims: {
      ...claims,
      sub: second.replace('heads/main', 'tags/v1'),
      'oidc.circleci.com/vcs-ref': 'refs/tags/v1',
    },
    run,
  },
  { what: 'a pipeline that a webhook started', claims: { ...byWebhook, sub: first }, run },
  {
    what: 'a token of a time when fewer claims were written',
    claims: { sub: first, jti: undefined, 'oidc.circleci.com/project-id': project },
  },
  {
    what: 'a fork that is given secrets',
    claims: {
      ...claims,
      sub: second.replace('octo/shop', 'mallory/shop'),
      'oidc.circleci.com/vcs-origin': 'github.com/mallory/shop',
    },
    run,
  },
  {
    what: 'a job that was started again with SSH',
    claims: { ...claims, 'oidc.circleci.com/ssh-rerun': true },
    refused: /^circleci.ssh_rerun: the job was started again for somebody to log in to$/,
  },
  {
    what: 'a subject of another organization than the issuer',
    claims: { ...claims, sub: second.replace(organization, other), 'oidc.circleci.com/org-id': other },
    refused: /^circleci.subject: the issuer is not that of organization d9035eb6/,
  },
  {
    what: 'a subject that says another branch than the claim',
    claims: { ...claims, sub: second.replace('heads/main', 'heads/try') },
    refused: /^circleci.subject: sub ends with .*heads\/try", the claims say .*heads\/main"$/,
  },
]

describe('tokens as CircleCI signs them', () => judgeSamples(on, url, samples))

describe('circleci', () => {
  it.each([
    [`org/${organization}/project/${project}`],
    [`org/${organization}/project/shop/user/${other}`],
    [`org/${organization}/project/${project}/user/`],
    [`org/${organization.toUpperCase()}/project/${project}/user/${other}`],
    [`project/${project}/org/${organization}/user/${other}`],
  ])('%s is no subject', async (sub) => {
    expect(await on.judge({ ...claims, sub })).toMatch(/^circleci.subject: .* is not org\/ID/)
  })

  it.each([
    ['oidc.circleci.com/project-id', undefined, /^circleci.ids: /],
    ['oidc.circleci.com/project-id', other, /^circleci.subject: sub says .*project-id/],
    ['oidc.circleci.com/org-id', other, /^circleci.subject: sub says .*org-id/],
    ['oidc.circleci.com/ssh-rerun', 'false', /^circleci.ssh_rerun: it is "false"/],
    ['oidc.circleci.com/ssh-rerun', null, /^circleci.ssh_rerun: it is null/],
    ['oidc.circleci.com/vcs-origin', undefined, /^circleci.subject: sub ends with /],
  ])('%s that is %j is refused', async (name, value, why) => {
    expect(await on.judge({ ...claims, [name]: value })).toMatch(why)
  })
})
