import type { IssuerPolicy } from './issuer.ts'
import { type ClaimRule, globProblem, segmentsOf } from './match.ts'

/** Something about a `match` worth reporting, at the claim it is about (`undefined`: the match as a whole). */
export interface BreadthProblem {
  readonly severity: 'error' | 'warning'
  readonly path: readonly string[] | undefined
  readonly message: string
  readonly fix: string
}

// Every token of an issuer carries these, so they tell no two workloads apart.
const commonClaims: ReadonlySet<string> = new Set(['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'typ', 'azp'])

/** Whether a `match` pins its workload down; an error where it would take in tokens of anything at all. */
export function breadthProblems(rules: readonly ClaimRule[], issuer: IssuerPolicy): readonly BreadthProblem[] {
  const problems: BreadthProblem[] = []
  for (const { path, pattern, glob } of rules) {
    const problem = glob ? globProblem(String(pattern)) : undefined
    if (problem !== undefined) {
      problems.push({ severity: 'error', path, message: problem, fix: 'use at most one `*` in each segment' })
    }
  }
  if (issuer.flavour === 'kubernetes') problems.push(...kubernetes(rules))
  if (issuer.flavour === 'github-actions') problems.push(...github(rules))
  if (issuer.flavour === 'gitlab') problems.push(...gitlab(rules))
  if (problems.some(({ severity }) => severity === 'error') || rules.some(tellsApart)) return problems
  const fix = 'name at least one claim of this workload alone, such as `sub`, in full'
  return [
    { severity: 'error', path: undefined, message: 'the match is so wide that any token of the issuer fits', fix },
  ]
}

/** A rule that most other workloads of the issuer would fail: exact, or a glob with literal text that is more than a form. */
function tellsApart({ label, pattern, glob }: ClaimRule): boolean {
  if (commonClaims.has(label)) return false
  if (typeof pattern !== 'string' || !glob) return true
  const { segments } = segmentsOf(pattern)
  const formOnly = new Set([
    'system',
    'serviceaccount',
    'repo',
    'project_path',
    'spiffe',
    '',
    'ns',
    'sa',
    'refs',
    'heads',
  ])
  return segments.some((segment) => segment.replace('*', '').length >= 2 && !formOnly.has(segment))
}

function kubernetes(rules: readonly ClaimRule[]): readonly BreadthProblem[] {
  if (rules.every(({ label }) => commonClaims.has(label))) return []
  const sub = rules.find(({ label }) => label === 'sub')
  const parts = typeof sub?.pattern === 'string' ? segmentsOf(sub.pattern).segments : []
  const named = (wanted: string): ClaimRule | undefined =>
    rules.find(({ label }) => label.replaceAll('/', '.') === `kubernetes.io.${wanted}`)
  const namespace = parts[2] ?? named('namespace')?.pattern
  const account = parts[3] ?? named('serviceaccount.name')?.pattern ?? named('serviceaccount.uid')?.pattern
  const open = (text: unknown): boolean => typeof text !== 'string' || text.includes('*')
  const pinned = named('namespace') !== undefined && !open(named('namespace')?.pattern)
  if (open(namespace) && !pinned && (account === undefined || account === '*')) {
    return [
      {
        severity: 'error',
        path: sub?.path,
        message: 'the match is so wide that any service account fits',
        fix: 'write the namespace and the service account in full: system:serviceaccount:NAMESPACE:NAME',
      },
    ]
  }
  if (open(namespace) && !pinned) {
    return [
      {
        severity: 'error',
        path: sub?.path,
        message: 'the match takes in any namespace, and whoever makes a namespace names its service accounts',
        fix: 'write the namespace in full',
      },
    ]
  }
  if (account !== undefined && account !== '*') return []
  return [
    {
      severity: 'warning',
      path: sub?.path,
      message: 'every service account of the namespace is this workload',
      fix: 'name the service account, unless the namespace holds one workload only',
    },
  ]
}

function github(rules: readonly ClaimRule[]): readonly BreadthProblem[] {
  if (rules.every(({ label }) => commonClaims.has(label))) return []
  const problems: BreadthProblem[] = []
  const byLabel = new Map(rules.map((rule) => [rule.label, rule]))
  const sub = byLabel.get('sub')
  const [, owner = '', repository = ''] = typeof sub?.pattern === 'string' ? segmentsOf(sub.pattern).segments : []
  const whole = (text: string): boolean => text !== '' && !text.includes('*')
  const oneRepository = byLabel.has('repository_id') || byLabel.has('repository') || whole(repository)
  if (!oneRepository) {
    problems.push({
      severity: 'error',
      path: sub?.path,
      message: 'the match is so wide that any repository fits',
      fix: 'name the repository by `repository_id`',
    })
  }
  // Since July 2026 the subject of new repositories carries immutable ids: repo:OWNER@ID/REPO@ID:….
  const immutable = byLabel.has('repository_id') || (owner.includes('@') && repository.includes('@'))
  if (oneRepository && !immutable) {
    problems.push({
      severity: 'warning',
      path: sub?.path,
      message: 'the repository is matched by name only, and a name can be taken over once it is given up',
      fix: 'add `repository_id` and `repository_owner_id`',
    })
  }
  return [...problems, ...numbersForText(rules, 'GitHub')]
}

function gitlab(rules: readonly ClaimRule[]): readonly BreadthProblem[] {
  if (rules.every(({ label }) => commonClaims.has(label))) return []
  const pinned = (label: string): boolean => rules.some((rule) => rule.label === label && !rule.glob)
  const sub = rules.find(({ label }) => label === 'sub')
  // project_path:GROUP/…/PROJECT:ref_type:…, whose path ends at the next colon.
  const project = String(sub?.pattern ?? '').split(':')[1] ?? ''
  const named = project !== '' && !project.includes('*')
  const problems: BreadthProblem[] = []
  if (!pinned('project_id') && !pinned('project_path') && !named) {
    problems.push({
      severity: 'error',
      path: sub?.path,
      message: 'the match is so wide that any project fits',
      fix: 'name the project by `project_id`',
    })
  } else if (!pinned('project_id')) {
    problems.push({
      severity: 'warning',
      path: sub?.path,
      message: 'the project is matched by its path only, and a path can be taken over once it is given up',
      fix: 'add `project_id`',
    })
  }
  return [...problems, ...numbersForText(rules, 'GitLab')]
}

const numbersForText = (rules: readonly ClaimRule[], platform: string): readonly BreadthProblem[] =>
  rules
    .filter(({ label, pattern }) => label.endsWith('_id') && typeof pattern === 'number')
    // GitLab writes this one as a number.
    .filter(({ label }) => !(platform === 'GitLab' && label === 'runner_id'))
    .map(({ label, pattern, path }) => ({
      severity: 'error',
      path,
      message: `${platform} writes \`${label}\` as text, which a number never equals`,
      fix: `put it in quotes: "${pattern}"`,
    }))
