import type { IssuerPolicy } from '../issuer.ts'
import { segmentsOf } from '../match.ts'
import {
  type BreadthProblem,
  error,
  givenAway,
  type IssuerProblem,
  isClosed,
  isNamed,
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

// Enterprises may have a path of their own below the common issuer, or a host (data residency, GitHub Enterprise Server).
const issuerForms = [
  /^https:\/\/token\.actions\.githubusercontent\.com(?:\/[A-Za-z0-9_-]+)?$/,
  /^https:\/\/token\.actions\.[a-z0-9-]+\.ghe\.com(?:\/[A-Za-z0-9_-]+)?$/,
  /^https:\/\/[^/]+\/_services\/token$/,
]

/** Job tokens of GitHub Actions (see `identity/flavours/github-actions.ts`). */
export const github: Platform = {
  forms: ['repo', 'refs', 'heads'],
  recyclable: {
    repository: { why: takenOver, instead: ['repository_id', 'repository_owner_id'] },
    repository_owner: { why: takenOver, instead: ['repository_owner_id'] },
    actor: { why: takenOver, instead: ['actor_id'] },
    enterprise: { why: takenOver, instead: ['enterprise_id'] },
  },
  // `repository` holds the name of the owner. The subject says the same by names, unless the organisation has chosen another form.
  pins: [
    { labels: ['repository_id', 'repository'] },
    { labels: ['repository_owner_id'] },
    { labels: ['environment'] },
    { labels: ['ref'], passing: ['refs/pull/', 'refs/tags/'] },
    { labels: ['ref_protected'], only: 'true' },
  ],
  owns: (url) => issuerForms.some((form) => form.test(url)),
  issuer: trust,
  match: breadth,
}

function trust(issuer: IssuerPolicy): readonly IssuerProblem[] {
  const form = issuerForms.some((one) => one.test(issuer.url))
    ? []
    : [
        warning(
          ['url'],
          'no GitHub signs with this issuer',
          'write https://token.actions.githubusercontent.com, https://token.actions.SUBDOMAIN.ghe.com, or https://HOST/_services/token',
        ),
      ]
  const shared = sharedAudience(
    issuer,
    (one) => /^https:\/\/github\.com\//.test(one),
    'this is what a token says that was asked for without an audience, whomever it is meant for',
  )
  return [...form, ...shared]
}

function breadth(look: MatchLook): readonly BreadthProblem[] {
  const { rules } = look
  return [
    ...repository(look),
    ...pullRequest(look),
    ...code(look),
    ...reusable(look),
    ...givenAway(rules, github.recyclable, ['actor', 'enterprise']),
    ...textOnly(rules, 'GitHub', (label) => label.endsWith('_id')),
  ]
}

function repository({ rules }: MatchLook): readonly BreadthProblem[] {
  const sub = ruleFor(rules, 'sub')
  const [, owner = '', name = ''] = typeof sub?.pattern === 'string' ? segmentsOf(sub.pattern).segments : []
  const byId = ruleFor(rules, 'repository_id') !== undefined
  if (!byId && ruleFor(rules, 'repository') === undefined && !isWhole(name)) {
    return [error(sub?.path, 'the match is so wide that any repository fits', 'name the repository by `repository_id`')]
  }
  // Since July 2026 the subject of new repositories carries immutable ids: repo:OWNER@ID/REPO@ID:….
  if (byId || (owner.includes('@') && name.includes('@'))) return []
  return [
    warning(
      sub?.path,
      'the repository is matched by name only, and a name can be taken over once it is given up',
      'add `repository_id` and `repository_owner_id`',
    ),
  ]
}

// repo:OWNER/NAME:pull_request has no value after its last word, so it is looked for at either place.
const ofPullRequest = ({ rules }: MatchLook): boolean =>
  String(ruleFor(rules, 'sub')?.pattern ?? '').split(':')[2] === 'pull_request' ||
  String(ruleFor(rules, 'event_name')?.pattern ?? '').startsWith('pull_request') ||
  [ruleFor(rules, 'ref')?.pattern, partOf(rules, 'ref')].some((ref) => String(ref).startsWith('refs/pull/'))

function pullRequest(look: MatchLook): readonly BreadthProblem[] {
  if (!ofPullRequest(look)) return []
  const make = look.production ? error : warning
  const message = 'whoever may open a pull request runs code as this workload before anybody has read it'
  return [make(ruleFor(look.rules, 'sub')?.path, message, 'name the branch or the protected environment instead')]
}

const places = ['ref', 'environment', 'job_workflow_ref', 'workflow_ref'] as const
const commits = ['sha', 'workflow_sha', 'job_workflow_sha'] as const

function code(look: MatchLook): readonly BreadthProblem[] {
  const { rules, issuer } = look
  if (ofPullRequest(look)) return []
  const { environment } = issuer
  const mapped = typeof environment === 'object' && places.some((claim) => claim === environment.claim)
  const named = [...places, ...commits].some((label) => isNamed(rules, label))
  if (mapped || named || places.some((key) => isClosed(partOf(rules, key)))) return []
  return [
    warning(
      ruleFor(rules, 'sub')?.path,
      'a workflow on any branch is this workload, and whoever may push a branch writes one',
      'add `ref`, `environment` or `job_workflow_ref`',
    ),
  ]
}

/** `OWNER/REPO/.github/workflows/FILE@REF`: what the reusable workflow does is for whoever moves the ref to say. */
function reusable({ rules }: MatchLook): readonly BreadthProblem[] {
  const rule = ruleFor(rules, 'job_workflow_ref')
  if (rule === undefined || isWhole(String(rule.pattern).split('@')[1])) return []
  const message = 'the reusable workflow may come from any ref, and whoever may push a branch there writes it'
  return [warning(rule.path, message, 'write its ref in full after the `@`, or add `job_workflow_sha`')]
}
