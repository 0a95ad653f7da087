import {
  type BreadthProblem,
  error,
  givenAway,
  isNamed,
  isWhole,
  type MatchLook,
  type Platform,
  partOf,
  ruleFor,
  sharedAudience,
  warning,
} from './platform.ts'

const renamed = 'can be changed, and given to another one then'

/** Workload identity tokens of HCP Terraform and Terraform Enterprise (see `identity/flavours/terraform.ts`). */
export const terraform: Platform = {
  forms: ['organization', 'project', 'workspace', 'run_phase', 'stack', 'deployment', 'operation', 'module'],
  recyclable: {
    terraform_organization_name: { why: renamed, instead: ['terraform_organization_id'] },
    terraform_project_name: { why: renamed, instead: ['terraform_project_id', 'terraform_workspace_id'] },
    terraform_workspace_name: { why: renamed, instead: ['terraform_workspace_id'] },
    terraform_full_workspace: { why: renamed, instead: ['terraform_workspace_id'] },
    terraform_stack_name: { why: renamed, instead: ['terraform_stack_id'] },
  },
  // The subject says the same by names. What a plan may have is a workload of its own.
  pins: [
    { labels: ['terraform_organization_id', 'terraform_organization_name'] },
    { labels: ['terraform_workspace_id', 'terraform_stack_id', 'terraform_full_workspace', 'terraform_stack_name'] },
    { labels: ['terraform_run_phase', 'terraform_operation'] },
  ],
  owns: (url) => url === 'https://app.terraform.io' || url === 'https://app.eu.terraform.io',
  issuer: (issuer) =>
    sharedAudience(
      issuer,
      (one) => one.endsWith('.workload.identity'),
      'this is the audience of the dynamic credentials for another service, so tokens made for that one fit here',
    ),
  match: breadth,
}

function breadth(look: MatchLook): readonly BreadthProblem[] {
  return [...scope(look), ...givenAway(look.rules, terraform.recyclable), ...subjectNames(look), ...phase(look)]
}

/** Whether a part is named in full: by a claim of its own, in the subject, or in the path of the workspace. */
function names({ rules }: MatchLook, part: string): boolean {
  const texts = [`terraform_${part}_id`, `terraform_${part}_name`, 'terraform_full_workspace'].map((label) => {
    const pattern = ruleFor(rules, label)?.pattern
    if (label !== 'terraform_full_workspace') return pattern
    return ['organization', 'project', 'workspace'].includes(part) ? pattern : undefined
  })
  return [...texts, partOf(rules, part)].some((text) => typeof text === 'string' && isWhole(text))
}

/** One issuer signs for every organization there is, so the organization must be named, and something in it. */
function scope(look: MatchLook): readonly BreadthProblem[] {
  const path = ruleFor(look.rules, 'sub')?.path
  if (['workspace', 'stack'].some((part) => isNamed(look.rules, `terraform_${part}_id`))) return []
  if (!names(look, 'organization') && !isNamed(look.rules, 'terraform_project_id')) {
    return [error(path, 'the match is so wide that any organization fits', 'add `terraform_organization_id`')]
  }
  if (['workspace', 'stack', 'module'].some((part) => names(look, part))) return []
  if (names(look, 'project')) {
    const message = 'every workspace of the project is this workload, and whoever may make one there makes another'
    return [warning(path, message, 'add `terraform_workspace_id`')]
  }
  return [error(path, 'the match is so wide that any workspace fits', 'add `terraform_workspace_id`')]
}

function subjectNames({ rules }: MatchLook): readonly BreadthProblem[] {
  const sub = ruleFor(rules, 'sub')
  const byId = ['workspace', 'stack', 'project', 'organization'].some((part) => isNamed(rules, `terraform_${part}_id`))
  if (sub === undefined || byId) return []
  return [warning(sub.path, '`sub` holds names only, and each of them can be changed', 'add `terraform_workspace_id`')]
}

function phase({ rules }: MatchLook): readonly BreadthProblem[] {
  const parts = ['run_phase', 'operation'].map((key) => partOf(rules, key))
  const claims = ['terraform_run_phase', 'terraform_operation'].map((label) => ruleFor(rules, label)?.pattern)
  if ([...parts, ...claims].some((text) => text !== undefined && isWhole(String(text)))) return []
  return [
    warning(
      ruleFor(rules, 'sub')?.path,
      'a plan is this workload, too, and a pull request starts one before anybody has read it',
      'add `terraform_run_phase: apply`, and a workload of its own for what a plan may have',
    ),
  ]
}
