import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import { disagreement } from './disagreement.ts'
import type { Flavour } from './flavour.ts'

const digits = /^[0-9]{1,20}$/
const nameSubject = /^repo:([A-Za-z0-9_-]+)\/([A-Za-z0-9._-]+):/
const immutableSubject = /^repo:([A-Za-z0-9_-]+)@([0-9]{1,20})\/([A-Za-z0-9._-]+)@([0-9]{1,20}):/

/**
 * GitHub Actions job tokens (docs.github.com, "OpenID Connect reference"). A `sub` that starts with `repo:` is read in
 * both forms, by name (`repo:o/r:…`) and immutable (`repo:o@id/r@id:…`), and must agree with the claims that name the
 * repository. An organisation may have chosen a different `sub`; then `repository` must be there. The run is the workflow
 * run and its attempt: no claim that every GitHub server writes names the job, and a run is started again as another attempt.
 * Jobs of one attempt that work for one purpose therefore share a run.
 */
export const githubActions: Flavour = {
  name: 'github-actions',
  types: ['jwt'],
  check(claims) {
    const ids = numericIds(claims)
    if (ids.code !== undefined) return [ids]
    return [ids, subjectAgreement(claims)]
  },
  run(claims) {
    const { run_id: id, run_attempt: attempt } = claims
    return typeof id === 'string' && typeof attempt === 'string' ? `run/${id}/attempt/${attempt}` : undefined
  },
}

const idClaims = ['repository_id', 'repository_owner_id', 'run_id', 'run_attempt'] as const

function numericIds(claims: Claims): Finding {
  const wrong = idClaims.find((name) => {
    const value = claims[name]
    return value !== undefined && !(typeof value === 'string' && digits.test(value))
  })
  return wrong === undefined
    ? passed('github.ids', 'ids are numbers as text')
    : failed('token_invalid', 'github.ids', `${wrong} is not a number as text: ${shown(claims[wrong])}`)
}

function subjectAgreement(claims: Claims): Finding {
  const rule = 'github.subject'
  const sub = String(claims.sub)
  const { repository } = claims
  if (!sub.startsWith('repo:')) {
    return typeof repository === 'string' && repository !== ''
      ? passed(rule, 'sub has a form of its own; repository names the repository')
      : failed('token_invalid', rule, 'neither sub nor repository names a repository')
  }
  const named = namedRepository(sub)
  if (named === undefined) {
    return failed('token_invalid', rule, `${shown(sub)} is neither repo:OWNER/NAME:… nor repo:OWNER@ID/NAME@ID:…`)
  }
  // Names are compared without case, as GitHub does: a rename may change the case in one place first.
  const contradiction = disagreement(rule, named, claims, (a, b) => a.toLowerCase() === b.toLowerCase())
  if (contradiction !== undefined) return contradiction
  return passed(
    rule,
    'repository_id' in named
      ? 'sub names the repository by its immutable ids'
      : 'sub names the repository by name only; whoever takes the name over gets the same sub',
  )
}

function namedRepository(sub: string): Readonly<Record<string, string>> | undefined {
  const immutable = immutableSubject.exec(sub)
  if (immutable !== null) {
    const [, owner = '', ownerId = '', name = '', id = ''] = immutable
    return {
      repository: `${owner}/${name}`,
      repository_owner: owner,
      repository_owner_id: ownerId,
      repository_id: id,
    }
  }
  const byName = nameSubject.exec(sub)
  if (byName === null) return undefined
  const [, owner = '', name = ''] = byName
  return { repository: `${owner}/${name}`, repository_owner: owner }
}
