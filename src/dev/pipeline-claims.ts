import { randomUUID } from 'node:crypto'
import type { Claim } from '../identity/identity.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'

type PipelineClaims = Record<string, Claim>

const textOf = (value: Claim | undefined): string => (typeof value === 'string' ? value : '')

// Made up, and the same each time: a pipeline that starts again is still itself. Its runs are not.
const someId = '00000000-0000-4000-8000-000000000001'
const someCommit = `${'0'.repeat(39)}1`

/** What a token of HCP Terraform, Buildkite or CircleCI holds beside the claims asked for; `undefined` for other issuers. */
export function pipelineClaims({ flavour, url }: IssuerPolicy, asked: PipelineClaims): PipelineClaims | undefined {
  if (flavour === 'terraform') return terraformClaims(asked)
  if (flavour === 'buildkite') return buildkiteClaims(asked)
  return flavour === 'circleci' ? circleciClaims(url, asked) : undefined
}

/** What `sub` says after a name, where it is asked for in the usual form. */
function subjectPart(asked: PipelineClaims, separator: string, name: string): string {
  const parts = textOf(asked.sub).split(separator)
  const at = parts.indexOf(name)
  return at < 0 ? '' : (parts[at + 1] ?? '')
}

function terraformClaims(asked: PipelineClaims): PipelineClaims {
  const named = (part: string, otherwise: string): string =>
    textOf(asked[`terraform_${part}_name`]) || subjectPart(asked, ':', part) || otherwise
  const [organization, project, workspace] = [
    named('organization', 'example'),
    named('project', 'Default Project'),
    named('workspace', 'app'),
  ]
  const phase = textOf(asked.terraform_run_phase) || subjectPart(asked, ':', 'run_phase') || 'apply'
  const path = `organization:${organization}:project:${project}:workspace:${workspace}`
  return {
    sub: `${path}:run_phase:${phase}`,
    terraform_organization_id: 'org-0000000000000001',
    terraform_organization_name: organization,
    terraform_project_id: 'prj-0000000000000001',
    terraform_project_name: project,
    terraform_workspace_id: 'ws-0000000000000001',
    terraform_workspace_name: workspace,
    terraform_full_workspace: path,
    terraform_run_id: `run-${randomUUID().replaceAll('-', '').slice(0, 16)}`,
    terraform_run_phase: phase,
  }
}

function buildkiteClaims(asked: PipelineClaims): PipelineClaims {
  const organization = textOf(asked.organization_slug) || subjectPart(asked, ':', 'organization') || 'example'
  const pipeline = textOf(asked.pipeline_slug) || subjectPart(asked, ':', 'pipeline') || 'app'
  const tag = textOf(asked.build_tag)
  const askedRef = subjectPart(asked, ':', 'ref')
  const branch = textOf(asked.build_branch) || (askedRef.startsWith('refs/heads/') ? askedRef.slice(11) : 'main')
  const ref = tag === '' ? `refs/heads/${branch}` : `refs/tags/${tag}`
  const commit = textOf(asked.build_commit) || subjectPart(asked, ':', 'commit') || someCommit
  const step = textOf(asked.step_key) || subjectPart(asked, ':', 'step') || 'deploy'
  return {
    sub: `organization:${organization}:pipeline:${pipeline}:ref:${ref}:commit:${commit}:step:${step}`,
    organization_slug: organization,
    organization_id: someId,
    pipeline_slug: pipeline,
    pipeline_id: someId,
    build_number: 42,
    build_branch: branch,
    build_commit: commit,
    build_source: 'webhook',
    step_key: step,
    job_id: randomUUID(),
    agent_id: someId,
    runner_environment: 'buildkite-hosted',
  }
}

function circleciClaims(url: string, asked: PipelineClaims): PipelineClaims {
  const claim = (name: string): string => `oidc.circleci.com/${name}`
  const organization = url.split('/org/')[1] ?? someId
  const project = textOf(asked[claim('project-id')]) || subjectPart(asked, '/', 'project') || someId
  return {
    sub: `org/${organization}/project/${project}/user/${someId}`,
    [claim('org-id')]: organization,
    [claim('project-id')]: project,
    [claim('context-ids')]: [],
    [claim('vcs-origin')]: 'github.com/example/app',
    [claim('vcs-ref')]: 'refs/heads/main',
    [claim('ssh-rerun')]: false,
    [claim('pipeline-id')]: randomUUID(),
    [claim('workflow-id')]: randomUUID(),
    [claim('job-id')]: randomUUID(),
  }
}
