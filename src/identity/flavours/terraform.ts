import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import { disagreement, malformed } from './disagreement.ts'
import type { Flavour } from './flavour.ts'

// Parts of `sub` in any of its forms, and the claims that say the same.
const partClaims: Readonly<Record<string, string | undefined>> = {
  organization: 'terraform_organization_name',
  project: 'terraform_project_name',
  workspace: 'terraform_workspace_name',
  run_phase: 'terraform_run_phase',
  stack: 'terraform_stack_name',
  deployment: 'terraform_stack_deployment_name',
  operation: 'terraform_operation',
  module: undefined,
}

// What a token of each form must say besides, by the part that tells the forms apart.
const forms: readonly { readonly part: string; readonly ids: readonly string[] }[] = [
  { part: 'workspace', ids: ['terraform_organization_id', 'terraform_workspace_id', 'terraform_run_id'] },
  { part: 'stack', ids: ['terraform_organization_id', 'terraform_stack_id'] },
  { part: 'module', ids: ['terraform_organization_id', 'terraform_run_id'] },
]

/**
 * Workload identity tokens of HCP Terraform and Terraform Enterprise (developer.hashicorp.com, "Workload identity"). `sub` is a
 * list of names (`organization:ORG:project:PROJECT:workspace:WORKSPACE:run_phase:PHASE`, one for stacks and one for module tests)
 * and must agree with the claims that repeat it; the ids, which are what lasts, must be there. One phase of a run is the run: an
 * apply may come hours after its plan, and gets other credentials.
 */
export const terraform: Flavour = {
  name: 'terraform',
  types: ['jwt'],
  check: (claims) => [subject(claims)],
  run({ terraform_run_id: id, terraform_run_phase: phase }) {
    return isId(id) && isPhase(phase) ? `run/${id}/phase/${phase}` : undefined
  },
}

const isId = (text: unknown): text is string => typeof text === 'string' && /^[a-z]{1,10}-[0-9A-Za-z]{1,64}$/.test(text)
const isPhase = (text: unknown): text is string => typeof text === 'string' && /^[a-z_]{1,20}$/.test(text)

function subject(claims: Claims): Finding {
  const rule = 'terraform.subject'
  const parts = partsOf(String(claims.sub))
  const form = forms.find(({ part }) => parts?.has(part))
  if (parts === undefined || form === undefined) {
    return failed('token_invalid', rule, `${shown(claims.sub)} names no workspace, stack or module of an organization`)
  }
  const wrong = malformed('terraform.ids', form.ids, claims, isId)
  if (wrong !== undefined) return wrong
  const said = [...parts].flatMap(([part, value]) => {
    const claim = partClaims[part]
    return claim === undefined ? [] : [[claim, value] as const]
  })
  return (
    disagreement(rule, Object.fromEntries(said), claims) ??
    passed(rule, `sub names a ${form.part}, and the claims agree`)
  )
}

/** The parts of a subject by name; `undefined` unless it is a list of known names, each once, that begins with an organization. */
function partsOf(sub: string): ReadonlyMap<string, string> | undefined {
  const words = sub.split(':', 2 * Object.keys(partClaims).length + 1)
  if (words.length % 2 !== 0 || words[0] !== 'organization') return undefined
  const parts = new Map<string, string>()
  for (let at = 0; at < words.length; at += 2) {
    const [part = '', value = ''] = words.slice(at, at + 2)
    if (!Object.hasOwn(partClaims, part) || parts.has(part) || value === '') return undefined
    parts.set(part, value)
  }
  return parts
}
