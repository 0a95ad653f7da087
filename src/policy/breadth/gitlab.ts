import type { ClaimRule } from '../match.ts'
import {
  type BreadthProblem,
  error,
  givenAway,
  isWhole,
  type MatchLook,
  type Platform,
  partOf,
  ruleFor,
  sharedAudience,
  takenOver,
  textOnly,
  warning,
} from './platform.ts'

/** ID tokens of GitLab CI (see `identity/flavours/gitlab.ts`). */
export const gitlab: Platform = {
  forms: ['project_path', 'refs', 'heads'],
  recyclable: {
    project_path: { why: takenOver, instead: ['project_id'] },
    namespace_path: { why: takenOver, instead: ['namespace_id'] },
    user_login: { why: takenOver, instead: ['user_id'] },
    user_email: { why: takenOver, instead: ['user_id'] },
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
  owns: (url) => url === 'https://gitlab.com',
  issuer: (issuer) =>
    sharedAudience(
      issuer,
      (one) => one === issuer.url,
      'this is what a token says that was asked for without an audience, whomever it is meant for',
    ),
  match: breadth,
}

// GitLab writes these as text, and the id of the runner as a number.
const isText = (label: string): boolean =>
  (label.endsWith('_id') && label !== 'runner_id') || label.endsWith('_protected')

function breadth(look: MatchLook): readonly BreadthProblem[] {
  const { rules } = look
  return [
    ...project(look),
    ...code(look),
    ...givenAway(rules, gitlab.recyclable, ['namespace_path', 'user_login', 'user_email']),
    ...textOnly(rules, 'GitLab', isText),
  ]
}

function project({ rules }: MatchLook): readonly BreadthProblem[] {
  const pinned = (label: string): ClaimRule | undefined => rules.find((rule) => rule.label === label && !rule.glob)
  if (pinned('project_id') !== undefined) return []
  const sub = ruleFor(rules, 'sub')
  if (pinned('project_path') !== undefined || isWhole(partOf(rules, 'project_path'))) {
    return [
      warning(
        sub?.path,
        'the project is matched by its path only, and a path can be taken over once it is given up',
        'add `project_id`',
      ),
    ]
  }
  const job = pinned('job_project_id') ?? pinned('job_project_path')
  if (job !== undefined) {
    // Since GitLab 18.2.2 project_* names the fork whose code a merge request runs, and job_project_* the project it runs in.
    const message = `\`${job.label}\` says where a job runs, and the code of a fork runs there for its merge request`
    return [error(job.path, message, 'name the project by `project_id`')]
  }
  return [error(sub?.path, 'the match is so wide that any project fits', 'name the project by `project_id`')]
}

function code({ rules, production }: MatchLook): readonly BreadthProblem[] {
  const source = ruleFor(rules, 'pipeline_source')
  if (source?.pattern === 'merge_request_event') {
    const make = production ? error : warning
    const message = 'whoever may open a merge request runs code as this workload before anybody has read it'
    return [make(source.path, message, 'take pipelines of protected branches instead')]
  }
  const guarded = ['ref_protected', 'environment_protected'].some((label) => ruleFor(rules, label)?.pattern === 'true')
  // A truth value instead of the text is told apart as a mistake of its own.
  const meant = ['ref_protected', 'environment_protected'].some((label) => ruleFor(rules, label)?.pattern === true)
  if (!production || guarded || meant) return []
  return [
    warning(
      undefined,
      'branches and environments that nobody protects reach production',
      'add `ref_protected: "true"` or `environment_protected: "true"`',
    ),
  ]
}
