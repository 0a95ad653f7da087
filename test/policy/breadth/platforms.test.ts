import { describe, expect, it, test } from 'vitest'
import { platforms } from '../../../src/policy/breadth/platforms.ts'
import { lintFor } from './lint.ts'

const one = (text: string): unknown[] => [expect.stringContaining(text)]

describe('github-actions', () => {
  const lint = lintFor('github-actions', 'https://token.actions.githubusercontent.com')
  const ids = { repository_id: '1', repository_owner_id: '2' }

  it.each([
    { ...ids, ref: 'refs/heads/main' },
    { ...ids, environment: 'production' },
    { ...ids, ref: 'refs/tags/v*' },
    { ...ids, job_workflow_ref: 'acme/ci/.github/workflows/deploy.yml@refs/tags/v3' },
    { sub: 'repo:acme@1/shop@2:ref:refs/heads/main' },
    { sub: 'repo:acme@1/shop@2:environment:Production%3AV1' },
  ])('says nothing of %j', (claims) => expect(lint.match(claims)).toEqual([]))

  test('a workflow of any branch', () => {
    const warning = one('warning: a workflow on any branch is this workload')
    expect(lint.match(ids)).toEqual(warning)
    expect(lint.match({ ...ids, ref: 'refs/heads/*' })).toEqual(warning)
    expect(lint.match({ sub: 'repo:acme@1/shop@2:ref:refs/heads/*' })).toEqual(warning)
    // The Issuer gives an environment only to jobs of a protected one, so nothing else opens a purpose.
    const environment = { claim: 'environment', map: { production: 'prod' } }
    expect(lint.match(ids, { issuer: { environment } })).toEqual([])
    expect(lint.match(ids, { issuer: { environment: 'prod' } })).toEqual(warning)
  })
  test('a pull request, which is an error where it reaches production', () => {
    const requests = [
      { sub: 'repo:acme@1/shop@2:pull_request' },
      { ...ids, event_name: 'pull_request' },
      { ...ids, event_name: 'pull_request_target', environment: 'production' },
      { ...ids, ref: 'refs/pull/*/merge' },
    ]
    for (const claims of requests) {
      expect(lint.match(claims)).toEqual(one('error: whoever may open a pull request runs code'))
      expect(lint.match(claims, { staging: true })).toEqual(one('warning: whoever may open a pull request'))
    }
  })
  test('a reusable workflow at any ref', () => {
    const warning = one('warning: the reusable workflow may come from any ref')
    const at = (ref: string): Record<string, string> => ({
      ...ids,
      ref: 'refs/heads/main',
      job_workflow_ref: `acme/ci/.github/workflows/deploy.yml${ref}`,
    })
    expect(lint.match(at('@refs/heads/*'))).toEqual(warning)
    expect(lint.match(at('@*/*/*'))).toEqual(warning)
    expect(lint.match(at('@refs/heads/main'))).toEqual([])
  })
  test('a person by name', () => {
    const claims = { ...ids, ref: 'refs/heads/main', actor: 'mona' }
    expect(lint.match(claims)).toEqual(one('warning: `actor` can be taken over once it is given up, add `actor_id`'))
    expect(lint.match({ ...claims, actor_id: '7' })).toEqual([])
  })
  test('the URLs GitHub signs with, and the audience it writes by itself', () => {
    for (const url of [
      'https://token.actions.githubusercontent.com/acme',
      'https://token.actions.octocorp.ghe.com',
      'https://github.corp.example/_services/token',
    ]) {
      expect(lint.issuer({ url }), url).toEqual([])
    }
    for (const url of [
      'https://github.com',
      'https://token.actions.githubusercontent.com/',
      'https://ghe.com/_services/token/x',
    ]) {
      expect(lint.issuer({ url }), url).toEqual(one('warning: no GitHub signs with this issuer'))
    }
    expect(lint.issuer({ audience: ['https://github.com/acme'] })).toEqual(one('asked for without an audience'))
  })
})

describe('gitlab', () => {
  const lint = lintFor('gitlab', 'https://gitlab.com')
  const good = { project_id: '22', ref: 'main', ref_protected: 'true' }

  it.each([
    good,
    { project_id: '22', environment: 'production', environment_protected: 'true' },
    { project_id: '22', ref_protected: 'true', runner_id: 7 },
  ])('says nothing of %j', (claims) => expect(lint.match(claims)).toEqual([]))

  test('what nobody protects, where it reaches production', () => {
    const claims = { project_id: '22', ref: 'main' }
    expect(lint.match(claims)).toEqual(one('warning: branches and environments that nobody protects'))
    expect(lint.match(claims, { staging: true })).toEqual([])
    expect(lint.match({ ...claims, ref_protected: 'false' })).toEqual(one('nobody protects'))
    expect(lint.match({ ...claims, ref_protected: true })).toEqual(
      one('error: GitLab writes `ref_protected` as text, which a truth value never equals, put it in quotes: "true"'),
    )
  })
  test('merge requests, and the project in which those of forks run', () => {
    const merge = { ...good, pipeline_source: 'merge_request_event' }
    expect(lint.match(merge)).toEqual(one('error: whoever may open a merge request'))
    expect(lint.match(merge, { staging: true })).toEqual(one('warning: whoever may open a merge request'))
    expect(lint.match({ job_project_id: '22', ref_protected: 'true' })).toEqual(
      one('error: `job_project_id` says where a job runs, and the code of a fork runs there'),
    )
  })
  test('people and groups by name', () => {
    expect(lint.match({ ...good, user_login: 'mona' })).toEqual(one('add `user_id`'))
    expect(lint.match({ ...good, user_email: 'mona@example.com' })).toEqual(one('add `user_id`'))
    expect(lint.match({ ...good, namespace_path: 'shop' })).toEqual(one('add `namespace_id`'))
  })
  test('the audience it writes by itself', () => {
    expect(lint.issuer({ audience: 'https://gitlab.com' })).toEqual(one('warning: this is what a token says'))
    expect(lint.issuer({})).toEqual([])
  })
})

describe('kubernetes', () => {
  const lint = lintFor('kubernetes', 'https://kubernetes.default.svc')

  test('a service account by name or by uid is enough', () => {
    expect(lint.match({ sub: 'system:serviceaccount:orders:checkout' })).toEqual([])
    expect(lint.match({ 'kubernetes.io': { serviceaccount: { uid: '5f6f3f6e' } } })).toEqual([])
    expect(lint.match({ 'kubernetes.io': { serviceaccount: { name: 'checkout' } } })).toEqual(one('error: '))
    expect(lint.match({ 'kubernetes.io': { namespace: 'orders' } })).toEqual(one('warning: every service account'))
  })
  test('an issuer of tokens without an end, and the audience of the API server', () => {
    expect(lint.issuer({})).toEqual([])
    expect(lint.issuer({ url: 'kubernetes/serviceaccount' })).toEqual(one('error: this signs tokens without an end'))
    for (const audience of ['https://kubernetes.default.svc', 'https://kubernetes.default.svc.cluster.local']) {
      expect(lint.issuer({ audience: ['https://writ.example.com', audience] })).toEqual(
        one('warning: the token for the API server, which every pod is given'),
      )
    }
  })
})

describe('terraform', () => {
  const lint = lintFor('terraform', 'https://app.terraform.io')
  const byId = { terraform_workspace_id: 'ws-1', terraform_run_phase: 'apply' }
  const sub = 'organization:acme:project:Default Project:workspace:shop:run_phase:apply'

  it.each([
    byId,
    { ...byId, terraform_organization_id: 'org-1' },
    { ...byId, sub },
    { terraform_stack_id: 'st-1', terraform_operation: 'apply' },
  ])('says nothing of %j', (claims) => expect(lint.match(claims)).toEqual([]))

  test('any organization or workspace', () => {
    const wide = (what: string): unknown[] => [expect.stringContaining(`error: the match is so wide that any ${what}`)]
    expect(lint.match({ terraform_run_phase: 'apply' })).toEqual(wide('organization fits'))
    expect(lint.match({ sub: 'organization:*:project:*:workspace:shop:run_phase:apply' })).toEqual(
      expect.arrayContaining(wide('organization fits')),
    )
    expect(lint.match({ terraform_organization_id: 'org-1', terraform_run_phase: 'apply' })).toEqual(
      wide('workspace fits'),
    )
    expect(lint.match({ terraform_project_id: 'prj-1', terraform_run_phase: 'apply' })).toEqual(
      one('warning: every workspace of the project'),
    )
  })
  test('names, which can be changed', () => {
    expect(lint.match({ sub })).toEqual(one('warning: `sub` holds names only'))
    expect(
      lint.match({
        terraform_organization_id: 'org-1',
        terraform_workspace_name: 'shop',
        terraform_run_phase: 'apply',
      }),
    ).toEqual(one('warning: `terraform_workspace_name` can be changed'))
  })
  test('a plan, which anybody starts', () => {
    const warning = one('warning: a plan is this workload, too')
    expect(lint.match({ terraform_workspace_id: 'ws-1' })).toEqual(warning)
    expect(lint.match({ ...byId, terraform_run_phase: '*' })).toEqual(warning)
    expect(lint.match({ terraform_workspace_id: 'ws-1', sub: sub.replace('apply', '*') })).toEqual(warning)
  })
  test('the audience of tokens for another service', () => {
    expect(lint.issuer({ audience: 'aws.workload.identity' })).toEqual(one('warning: this is the audience'))
    expect(lint.issuer({})).toEqual([])
  })
})

describe('buildkite', () => {
  const lint = lintFor('buildkite', 'https://agent.buildkite.com')
  const sub = 'organization:acme:pipeline:shop:ref:refs/heads/main:commit:*:step:deploy'

  it.each([
    { pipeline_id: '0184990a', build_branch: 'main' },
    { organization_id: '0184990b', pipeline_id: '0184990a', build_tag: 'v*' },
    { sub, pipeline_id: '0184990a' },
  ])('says nothing of %j', (claims) => expect(lint.match(claims)).toEqual([]))

  test('any organization or pipeline', () => {
    expect(lint.match({ pipeline_slug: 'shop', build_branch: 'main' })).toEqual([
      expect.stringContaining('error: the match is so wide that any organization fits'),
      expect.stringContaining('warning: `pipeline_slug`'),
    ])
    expect(lint.match({ organization_id: '0184990b', build_branch: 'main' })).toEqual(
      one('error: the match is so wide that any pipeline'),
    )
    expect(lint.match({ sub: '0191f956-042f-7ec4-aa62-8e5eeae396d0', build_branch: 'main' })).toEqual(
      one('error: the match is so wide that any organization fits'),
    )
  })
  test('names, and builds of any branch', () => {
    expect(lint.match({ sub })).toEqual(one('warning: `sub` holds names only'))
    expect(lint.match({ pipeline_id: '0184990a' })).toEqual(one('warning: a build of any branch'))
    expect(lint.match({ pipeline_id: '0184990a', sub: sub.replace('main', '*') })).toEqual(
      one('warning: a build of any'),
    )
    expect(lint.match({ pipeline_id: '0184990a', build_branch: 'main', queue_key: 'deploy' })).toEqual(
      one('add `queue_id`'),
    )
  })
  test('the URL, and the audience it writes by itself', () => {
    expect(lint.issuer({})).toEqual([])
    expect(lint.issuer({ url: 'https://buildkite.com' })).toEqual(one('warning: Buildkite does not sign'))
    expect(lint.issuer({ audience: 'https://buildkite.com/acme' })).toEqual(one('warning: this is what a token says'))
  })
})

describe('circleci', () => {
  const organization = 'c9035eb6-6eb2-4c85-8a81-d9ed6a1d1d1e'
  const lint = lintFor('circleci', `https://oidc.circleci.com/org/${organization}`)
  const project = '3a2f5b1c-7d4e-4f6a-9b8c-0d1e2f3a4b5c'
  const origin = { 'oidc.circleci.com/vcs-origin': 'github.com/octo/shop' }
  const ref = { 'oidc.circleci.com/vcs-ref': 'refs/heads/main' }
  const byId = { 'oidc.circleci.com/project-id': project }
  const sub = `org/${organization}/project/${project}/user/*/vcs-origin/github.com/octo/shop/vcs-ref/refs/heads/main`

  it.each([{ ...byId, ...origin, ...ref }, { sub }, { ...byId, ...origin, 'oidc.circleci.com/context-ids': project }])(
    'says nothing of %j',
    (claims) => expect(lint.match(claims)).toEqual([]),
  )

  test('any project, any branch, any fork', () => {
    expect(lint.match({ ...origin, ...ref })).toEqual(one('error: the match is so wide that any project fits'))
    expect(lint.match({ ...byId, ...origin })).toEqual(one('warning: a job of any branch'))
    expect(lint.match({ ...byId, ...ref })).toEqual(one('warning: the code of a fork'))
    expect(lint.match({ sub: sub.replace('main', '*') })).toEqual(one('warning: a job of any branch'))
    expect(lint.match({ sub: sub.replace(project, '*') })).toEqual(one('error: the match is so wide that any project'))
  })
  test('an issuer without its organization, and the audience of every job', () => {
    expect(lint.issuer({})).toEqual([])
    expect(lint.issuer({ url: 'https://oidc.circleci.com' })).toEqual(one('error: every organization has an issuer'))
    expect(lint.issuer({ audience: organization })).toEqual(one('warning: every job of the organization'))
    expect(lint.issuer({ token: { replay: 'once' } })).toEqual(one('warning: CircleCI writes no `jti`'))
  })
})

describe('generic', () => {
  const lint = lintFor('generic', 'https://login.example.com')

  test('anything but the subject', () => {
    expect(lint.match({ sub: 'client:shop' })).toEqual([])
    expect(lint.match({ groups: 'shop' })).toEqual(one('warning: the match asks nothing of `sub`'))
    expect(lint.match({ email: 'a@example.com' })).toEqual(one('warning: `email` may change'))
    expect(lint.match({ email: 'a@example.com', sub: '7' })).toEqual([])
  })
  test('tokens for the issuer itself, and issuers of platforms that have rules of their own', () => {
    expect(lint.issuer({})).toEqual([])
    expect(lint.issuer({ audience: 'https://login.example.com' })).toEqual(one('warning: tokens that are meant for'))
    const owned = {
      'https://token.actions.githubusercontent.com': 'github-actions',
      'https://gitlab.com': 'gitlab',
      'https://app.terraform.io': 'terraform',
      'https://agent.buildkite.com': 'buildkite',
      'https://oidc.circleci.com/org/1': 'circleci',
      'https://container.googleapis.com/v1/projects/p/locations/l/clusters/c': 'kubernetes',
    }
    for (const [url, flavour] of Object.entries(owned)) {
      expect(lint.issuer({ url }), url).toEqual(one(`write flavour: ${flavour}`))
    }
  })
})

test('what a name is to be replaced by is never a name that is given away itself', () => {
  for (const [flavour, { recyclable }] of Object.entries(platforms)) {
    for (const [name, { instead }] of Object.entries(recyclable)) {
      expect(instead.length, `${flavour} ${name}`).toBeGreaterThan(0)
      // `sub` of a generic issuer is what OpenID Connect says never to give away.
      expect(instead.filter((stable) => Object.hasOwn(recyclable, stable))).toEqual([])
    }
  }
})
