import type { IssuerPolicy } from '../issuer.ts'
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

const issuerUrl = 'https://agent.buildkite.com'

/** Job tokens of Buildkite (see `identity/flavours/buildkite.ts`). */
export const buildkite: Platform = {
  forms: ['organization', 'pipeline', 'ref', 'refs', 'heads', 'commit', 'step'],
  recyclable: {
    organization_slug: { why: takenOver, instead: ['organization_id', 'pipeline_id'] },
    pipeline_slug: { why: takenOver, instead: ['pipeline_id'] },
    cluster_name: { why: takenOver, instead: ['cluster_id'] },
    queue_key: { why: takenOver, instead: ['queue_id'] },
  },
  // The subject says the same by names, and the commit.
  pins: [
    { labels: ['organization_id', 'organization_slug'] },
    { labels: ['pipeline_id', 'pipeline_slug'] },
    { labels: ['build_branch'] },
    { labels: ['step_key'] },
  ],
  owns: (url) => url === issuerUrl,
  issuer: trust,
  match: breadth,
}

function trust(issuer: IssuerPolicy): readonly IssuerProblem[] {
  const form =
    issuer.url === issuerUrl ? [] : [warning(['url'], 'Buildkite does not sign with this issuer', `write ${issuerUrl}`)]
  const shared = sharedAudience(
    issuer,
    (one) => one.startsWith('https://buildkite.com/'),
    'this is what a token says that was asked for without an audience, whomever it is meant for',
  )
  return [...form, ...shared]
}

function breadth(look: MatchLook): readonly BreadthProblem[] {
  const { rules } = look
  return [
    ...scope(look),
    ...givenAway(rules, buildkite.recyclable),
    ...subjectNames(look),
    ...code(look),
    ...textOnly(rules, 'Buildkite', (label) => label.endsWith('_id') || label.endsWith('_slug')),
  ]
}

/** One issuer signs for every organization there is. The id of a pipeline is that of one pipeline in one of them. */
function scope({ rules }: MatchLook): readonly BreadthProblem[] {
  const named = (label: string, key: string): boolean =>
    isWhole(String(ruleFor(rules, label)?.pattern ?? '')) || isWhole(partOf(rules, key))
  if (isNamed(rules, 'pipeline_id')) return []
  const path = ruleFor(rules, 'sub')?.path
  if (!isNamed(rules, 'organization_id') && !named('organization_slug', 'organization')) {
    return [error(path, 'the match is so wide that any organization fits', 'add `organization_id` and `pipeline_id`')]
  }
  if (named('pipeline_slug', 'pipeline')) return []
  return [error(path, 'the match is so wide that any pipeline fits', 'add `pipeline_id`')]
}

function subjectNames({ rules }: MatchLook): readonly BreadthProblem[] {
  const sub = ruleFor(rules, 'sub')
  if (partOf(rules, 'pipeline') === undefined || isNamed(rules, 'pipeline_id')) return []
  return [
    warning(
      sub?.path,
      '`sub` holds names only, and a name can be taken over once it is given up',
      'ask for the token with --claim pipeline_id, and add `pipeline_id`',
    ),
  ]
}

function code({ rules }: MatchLook): readonly BreadthProblem[] {
  const named = ['build_branch', 'build_tag', 'build_commit'].some((label) => isNamed(rules, label))
  if (named || isClosed(partOf(rules, 'ref'))) return []
  return [
    warning(
      ruleFor(rules, 'sub')?.path,
      'a build of any branch is this workload, and whoever may push a branch writes its steps',
      'add `build_branch`',
    ),
  ]
}
