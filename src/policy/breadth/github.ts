import { segmentsOf } from '../match.ts'
import { type BreadthProblem, type MatchLook, numbersForText, type Platform } from './platform.ts'

const renamed = 'can be taken over once it is given up'

/** Job tokens of GitHub Actions (see `identity/flavours/github-actions.ts`). */
export const github: Platform = {
  forms: ['repo', 'refs', 'heads'],
  recyclable: {
    repository: { why: renamed, instead: ['repository_id', 'repository_owner_id'] },
    repository_owner: { why: renamed, instead: ['repository_owner_id'] },
    actor: { why: renamed, instead: ['actor_id'] },
    enterprise: { why: renamed, instead: ['enterprise_id'] },
  },
  // `repository` holds the name of the owner. The subject says the same by names, unless the organisation has chosen another form.
  pins: [
    { labels: ['repository_id', 'repository'] },
    { labels: ['repository_owner_id'] },
    { labels: ['environment'] },
    { labels: ['ref'], passing: ['refs/pull/', 'refs/tags/'] },
    { labels: ['ref_protected'], only: 'true' },
  ],
  match: breadth,
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
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
