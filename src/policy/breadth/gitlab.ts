import { type BreadthProblem, type MatchLook, numbersForText, type Platform } from './platform.ts'

const renamed = 'can be taken over once it is given up'

/** ID tokens of GitLab CI (see `identity/flavours/gitlab.ts`). */
export const gitlab: Platform = {
  forms: ['project_path', 'refs', 'heads'],
  recyclable: {
    project_path: { why: renamed, instead: ['project_id'] },
    namespace_path: { why: renamed, instead: ['namespace_id'] },
    user_login: { why: renamed, instead: ['user_id'] },
    user_email: { why: renamed, instead: ['user_id'] },
  },
  // The subject says the same by names.
  pins: [
    { labels: ['project_id', 'project_path'] },
    { labels: ['namespace_id'] },
    { labels: ['environment'] },
    { labels: ['environment_protected'], only: 'true' },
    { labels: ['ref_path', 'ref'], passing: ['refs/merge-requests/', 'refs/tags/'] },
    { labels: ['ref_protected'], only: 'true' },
  ],
  match: breadth,
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
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
  // GitLab writes the id of the runner as a number.
  return [...problems, ...numbersForText(rules, 'GitLab', ['runner_id'])]
}
