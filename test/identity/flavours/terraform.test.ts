import { describe, expect, it } from 'vitest'
import { judgeSamples, platform, type Sample } from './samples.ts'

const url = 'https://app.terraform.io'
const on = platform('terraform', url)

const claims = {
  jti: '1192426d-b525-4fde-9d42-f238be437bbd',
  sub: 'organization:acme:project:Default Project:workspace:shop-prod:run_phase:apply',
  terraform_organization_id: 'org-GRNbCjYNpBB6NEH9',
  terraform_organization_name: 'acme',
  terraform_project_id: 'prj-vegSA59s1XPwMr2t',
  terraform_project_name: 'Default Project',
  terraform_workspace_id: 'ws-mbsd5E3Ktt5Rg2Xm',
  terraform_workspace_name: 'shop-prod',
  terraform_full_workspace: 'organization:acme:project:Default Project:workspace:shop-prod',
  terraform_run_id: 'run-X3n1AUXNGWbfECsJ',
  terraform_run_phase: 'apply',
}
const run = 'run/run-X3n1AUXNGWbfECsJ/phase/apply'
const organization = { terraform_organization_id: 'org-GRNbCjYNpBB6NEH9', terraform_organization_name: 'acme' }
const stack = {
  ...organization,
  sub: 'organization:acme:project:Default Project:stack:shop:deployment:production:operation:apply',
  terraform_project_id: 'prj-vegSA59s1XPwMr2t',
  terraform_project_name: 'Default Project',
  terraform_stack_id: 'st-6kvzQ3ZtPq1HnB2e',
  terraform_stack_name: 'shop',
  terraform_stack_deployment_name: 'production',
  terraform_operation: 'apply',
}

const samples: readonly Sample[] = [
  { what: 'an apply', claims, run },
  {
    what: 'a plan of the same run',
    claims: { ...claims, sub: claims.sub.replace('apply', 'plan'), terraform_run_phase: 'plan' },
    run: 'run/run-X3n1AUXNGWbfECsJ/phase/plan',
  },
  {
    what: 'a workspace of a time before projects',
    claims: {
      ...claims,
      sub: 'organization:acme:workspace:shop-prod:run_phase:apply',
      terraform_project_id: undefined,
      terraform_project_name: undefined,
    },
    run,
  },
  { what: 'a deployment of a stack', claims: stack },
  {
    what: 'a test of a module',
    claims: {
      ...organization,
      sub: 'organization:acme:module:terraform-aws-vpc:operation:test_run',
      terraform_run_id: 'trun-KFg8DSiRz4E37mdJ',
      terraform_run_phase: 'plan',
    },
    run: 'run/trun-KFg8DSiRz4E37mdJ/phase/plan',
  },
  {
    what: 'a run of another phase than apply or plan',
    claims: { ...claims, terraform_run_phase: 'Apply/..' },
    refused: /^terraform.subject: /,
  },
  {
    what: 'a plan that calls itself an apply',
    claims: { ...claims, terraform_run_phase: 'plan' },
    refused: /^terraform.subject: sub says terraform_run_phase "apply", the claim "plan"$/,
  },
  {
    what: 'a workspace of another organization',
    claims: { ...claims, terraform_organization_name: 'mallory' },
    refused: /^terraform.subject: sub says terraform_organization_name "acme", the claim "mallory"$/,
  },
  {
    what: 'a workspace without its id',
    claims: { ...claims, terraform_workspace_id: undefined },
    refused: /^terraform.ids: terraform_workspace_id is not of its form: nothing$/,
  },
  {
    what: 'a run id that leads elsewhere',
    claims: { ...claims, terraform_run_id: 'run-1/../2' },
    refused: /^terraform.ids: terraform_run_id /,
  },
]

describe('tokens as HCP Terraform signs them', () => judgeSamples(on, url, samples))

describe('terraform', () => {
  it.each([
    ['organization:acme'],
    ['organization:acme:run_phase:apply'],
    ['organization::workspace:shop:run_phase:apply'],
    ['project:p:organization:acme:workspace:shop:run_phase:apply'],
    ['organization:acme:workspace:shop:run_phase:apply:'],
    ['organization:acme:workspace:shop:workspace:other:run_phase:apply'],
    ['organization:acme:workspace:shop:toString:x'],
    ['workspace:shop:run_phase:apply'],
    ['organization:acme:workspace:a:'.concat('workspace:a:'.repeat(5))],
  ])('%s names nothing', async (sub) => {
    expect(await on.judge({ ...claims, sub })).toMatch(/^terraform.subject: .* names no workspace, stack or module/)
  })

  it.each(['terraform_project_name', 'terraform_workspace_name', 'terraform_run_phase'])(
    'a %s that is not text is refused',
    async (name) => {
      expect(await on.judge({ ...claims, [name]: ['apply'] })).toMatch(/^terraform.subject: sub says .* a list$/)
    },
  )

  it('Terraform Enterprise signs with its own URL', async () => {
    const own = 'https://terraform.corp.example'
    const s = on.scene({ url: own })
    expect((await s.identity(await s.sign({ ...claims, iss: own }))).run).toBe(run)
    expect(await s.whyNot(await s.sign({ ...claims, iss: url }))).toMatch(/^issuer: /)
  })
})
