import { isEntraId, readEntraIssuer } from '../../base/entra-issuer.ts'
import type { IssuerPolicy } from '../issuer.ts'
import { type BreadthProblem, type IssuerProblem, type MatchLook, type Platform, withoutId } from './platform.ts'

const deleted = 'names whatever is made under that name after the first one was deleted'
const manyTenants: ReadonlySet<string> = new Set([
  ...['common', 'organizations', 'consumers'],
  // The tenant of everybody's personal accounts.
  '9188040d-6c67-4c5b-b112-36a304b66dad',
])
const ids = ['oid', 'sub', 'appid', 'azp', 'tid'] as const
// Of these, one is enough to name an application.
const pinning: ReadonlySet<string> = new Set(['oid', 'sub', 'appid'])

/** Access tokens of Microsoft Entra (see `identity/flavours/azure.ts`). */
export const azure: Platform = {
  forms: ['subscriptions', 'resourcegroups', 'resourceGroups', 'providers'],
  recyclable: {
    xms_mirid: { why: deleted, instead: ['oid'] },
    app_displayname: { why: 'is what its owner chooses', instead: ['oid', 'appid'] },
  },
  pins: [{ labels: ['oid', 'xms_mirid'] }, { labels: ['azp', 'appid'] }],
  owns: (url) => readEntraIssuer(url) !== undefined,
  issuer: ofIssuer,
  match: breadth,
}

function ofIssuer({ url, token }: IssuerPolicy): readonly IssuerProblem[] {
  const named = readEntraIssuer(url)
  const at = (message: string, fix: string): readonly IssuerProblem[] => [
    { severity: 'error', path: ['url'], message, fix },
  ]
  if (named === undefined) {
    const forms = 'https://login.microsoftonline.com/TENANT-ID/v2.0 or https://sts.windows.net/TENANT-ID/'
    return at('the url is not an issuer of Microsoft Entra', `write ${forms}, as the tokens have it`)
  }
  if (manyTenants.has(named.tenant)) {
    return at(`\`${named.tenant}\` stands for tenants of anybody`, 'write the id of your own tenant')
  }
  return isEntraId(named.tenant)
    ? withoutId(token, 'Entra')
    : at('tokens name the tenant by its id, in lower case', 'write the id of the tenant, not a domain of it')
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
  const problems: BreadthProblem[] = []
  for (const { label, pattern, path, glob } of rules) {
    if (!glob && ids.some((id) => id === label) && !isEntraId(pattern)) {
      const message = `Entra writes \`${label}\` as an id in lower case, which this never equals`
      problems.push({ severity: 'error', path, message, fix: 'write the id as the token has it' })
    }
  }
  if (rules.some(({ label, glob }) => pinning.has(label) && !glob)) return problems
  const [resource, role] = ['xms_mirid', 'roles'].map((name) => rules.find(({ label }) => label === name))
  if (resource !== undefined) {
    problems.push({
      severity: 'warning',
      path: resource.path,
      message: 'the identity is matched by its resource, whose name another one gets once it is deleted',
      fix: 'add `oid`, the id of its principal',
    })
  } else if (role !== undefined && !role.glob) {
    problems.push({
      severity: 'warning',
      path: role.path,
      message: 'every application that is assigned the role is this workload',
      fix: 'add `oid`, the id of its principal',
    })
  } else {
    problems.push({
      severity: 'error',
      path: undefined,
      message: 'the match is so wide that any application of the tenant fits',
      fix: 'name the principal by `oid`',
    })
  }
  return problems
}
