import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import type { Flavour } from './flavour.ts'

const mostDigits = 20
const prefix = 'project_path:'

/**
 * ID tokens of GitLab CI (docs.gitlab.com, "OpenID Connect (OIDC) Authentication Using ID Tokens"). Ids are numbers as text, except that of
 * the runner. A `sub` of the usual form (`project_path:GROUP/PROJECT:ref_type:…`) must agree with the claim `project_path`; a project may
 * have chosen a different one, and then `project_path` must be there. The job is the run.
 */
export const gitlab: Flavour = {
  name: 'gitlab',
  types: ['jwt'],
  check(claims) {
    const ids = numericIds(claims)
    return ids.code === undefined ? [ids, subjectAgreement(claims)] : [ids]
  },
  run: ({ job_id: id }) => (isNumber(id) ? `job/${id}` : undefined),
}

const idClaims = [
  'project_id',
  'namespace_id',
  'pipeline_id',
  'job_id',
  'user_id',
  'job_project_id',
  'job_namespace_id',
] as const

function isNumber(value: unknown): value is string {
  if (typeof value !== 'string' || value.length === 0 || value.length > mostDigits) return false
  return [...value].every((digit) => digit >= '0' && digit <= '9')
}

function numericIds(claims: Claims): Finding {
  const wrong = idClaims.find((name) => claims[name] !== undefined && !isNumber(claims[name]))
  return wrong === undefined
    ? passed('gitlab.ids', 'ids are numbers as text')
    : failed('token_invalid', 'gitlab.ids', `${wrong} is not a number as text: ${shown(claims[wrong])}`)
}

function subjectAgreement({ sub, project_path: path }: Claims): Finding {
  const rule = 'gitlab.subject'
  const named = typeof path === 'string' && path !== ''
  if (!named) return failed('token_invalid', rule, 'project_path names no project')
  if (!String(sub).startsWith(prefix)) return passed(rule, 'sub has a form of its own; project_path names the project')
  // A path holds no colon, so what stands before the next one is all of it. Paths are compared without case, as GitLab does.
  const [project = ''] = String(sub).slice(prefix.length).split(':', 1)
  return project.toLowerCase() === path.toLowerCase()
    ? passed(rule, 'sub and project_path name the same project')
    : failed('token_invalid', rule, `sub says ${shown(project)}, project_path ${shown(path)}`)
}
