import type { IssuerPolicy } from '../issuer.ts'
import {
  type BreadthProblem,
  error,
  type IssuerProblem,
  isClosed,
  isNamed,
  isWhole,
  type MatchLook,
  type Platform,
  ruleFor,
  sharedAudience,
  takenOver,
  textOnly,
  warning,
  withoutId,
} from './platform.ts'

const claim = (name: string): string => `oidc.circleci.com/${name}`
const organization = /\/org\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/

/** Job tokens of CircleCI (see `identity/flavours/circleci.ts`). */
export const circleci: Platform = {
  forms: ['org', 'project', 'user', 'vcs-origin', 'vcs-ref', 'refs', 'heads'],
  recyclable: { [claim('vcs-origin')]: { why: takenOver, instead: [claim('project-id')] } },
  // The subject names the person who started the job, too.
  pins: [
    { labels: [claim('project-id')] },
    { labels: [claim('vcs-origin')] },
    { labels: [claim('vcs-ref')], passing: ['refs/pull/', 'refs/tags/'] },
  ],
  owns: (url) => url.startsWith('https://oidc.circleci.com/org/'),
  issuer: trust,
  match: breadth,
}

function trust(issuer: IssuerPolicy): readonly IssuerProblem[] {
  const id = organization.exec(issuer.url)?.[1]
  if (id === undefined) {
    const fix = 'write https://oidc.circleci.com/org/ORGANIZATION_ID'
    return [error(['url'], 'every organization has an issuer of its own, and this names none', fix)]
  }
  const message = 'every job of the organization is given a token with this audience, whomever it is meant for'
  return [...sharedAudience(issuer, (one) => one === id, message), ...withoutId(issuer.token, 'CircleCI')]
}

function breadth(look: MatchLook): readonly BreadthProblem[] {
  const { rules } = look
  return [...project(look), ...code(look), ...textOnly(rules, 'CircleCI', (label) => label.endsWith('-id'))]
}

/** What stands behind a name in a subject of the form org/ID/project/ID/user/ID/…. */
function part({ rules }: MatchLook, name: string): string | undefined {
  const parts = String(ruleFor(rules, 'sub')?.pattern ?? '').split('/')
  const at = parts.indexOf(name)
  return at < 0 ? undefined : parts[at + 1]
}

function project(look: MatchLook): readonly BreadthProblem[] {
  const sub = ruleFor(look.rules, 'sub')
  const named = isNamed(look.rules, claim('project-id')) || isWhole(part(look, 'project'))
  if (named) return []
  return [error(sub?.path, 'the match is so wide that any project fits', `add \`${claim('project-id')}\``)]
}

function code(look: MatchLook): readonly BreadthProblem[] {
  const { rules } = look
  const sub = ruleFor(rules, 'sub')
  const ends = String(sub?.pattern ?? '').split('/vcs-ref/')[1]
  const problems: BreadthProblem[] = []
  if (!isNamed(rules, claim('vcs-ref')) && !isNamed(rules, claim('context-ids')) && !isClosed(ends)) {
    const message = 'a job of any branch is this workload, and whoever may push a branch writes it'
    problems.push(warning(sub?.path, message, `add \`${claim('vcs-ref')}\``))
  }
  if (!isNamed(rules, claim('vcs-origin')) && part(look, 'vcs-origin') === undefined) {
    const message = 'the code of a fork is this workload, too, where the project passes secrets to builds of forks'
    problems.push(warning(sub?.path, message, `add \`${claim('vcs-origin')}\``))
  }
  return problems
}
