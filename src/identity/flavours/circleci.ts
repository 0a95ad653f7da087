import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import { disagreement, isUuid, malformed } from './disagreement.ts'
import type { Flavour } from './flavour.ts'

const id = '([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'
const subjectForm = new RegExp(`^org/${id}/project/${id}/user/${id}(?:/(.{1,2000}))?$`)
const claim = (name: string): string => `oidc.circleci.com/${name}`

/**
 * Job tokens of CircleCI (circleci.com/docs, "Using OpenID Connect tokens in jobs"). Each organization has an issuer of its own,
 * whose URL ends with its id, and `sub` must name that one. Both forms of `sub` are read, and must agree with the claims. A job
 * that was started again with SSH has a person at its keyboard, so it is no workload and its token is refused. The job is the run.
 */
export const circleci: Flavour = {
  name: 'circleci',
  types: ['jwt'],
  check(claims) {
    const person = noPerson(claims)
    return person.code === undefined ? [person, subject(claims)] : [person]
  },
  run(claims) {
    const job = claims[claim('job-id')]
    return isUuid(job) ? `job/${job}` : undefined
  },
}

function noPerson(claims: Claims): Finding {
  const rule = 'circleci.ssh_rerun'
  const again = claims[claim('ssh-rerun')]
  if (again === undefined || again === false) return passed(rule, 'nobody is logged in to the job')
  const detail = again === true ? 'the job was started again for somebody to log in to' : `it is ${shown(again)}`
  return failed('token_invalid', rule, detail)
}

function subject(claims: Claims): Finding {
  const rule = 'circleci.subject'
  const [, organization, project, , rest] = subjectForm.exec(String(claims.sub)) ?? []
  if (organization === undefined || project === undefined) {
    return failed('token_invalid', rule, `${shown(claims.sub)} is not org/ID/project/ID/user/ID`)
  }
  if (!String(claims.iss).endsWith(`/org/${organization}`)) {
    return failed('token_invalid', rule, `the issuer is not that of organization ${organization}`)
  }
  const wrong =
    malformed('circleci.ids', [claim('project-id')], claims, isUuid) ??
    disagreement(rule, { [claim('org-id')]: organization, [claim('project-id')]: project }, claims) ??
    origin(rule, rest, claims)
  return wrong ?? passed(rule, 'sub names the organization of the issuer and a project, and the claims agree')
}

/** The second form of `sub` goes on with where the code is from, as two claims say it. */
function origin(rule: string, rest: string | undefined, claims: Claims): Finding | undefined {
  const [repository, ref] = [claims[claim('vcs-origin')], claims[claim('vcs-ref')]]
  // A pipeline that a webhook started has neither claim.
  if (rest === undefined || (repository === undefined && ref === undefined)) return undefined
  const from = `vcs-origin/${repository}/vcs-ref/${ref}`
  return rest === from
    ? undefined
    : failed('token_invalid', rule, `sub ends with ${shown(rest)}, the claims say ${shown(from)}`)
}
