import { isEntraId, readEntraIssuer } from '../../base/entra-issuer.ts'
import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import type { Flavour } from './flavour.ts'

const resource = /^\/subscriptions\/[0-9A-Za-z-]{1,64}\/[\x21-\x7e]{1,900}$/

/**
 * Access tokens of Microsoft Entra for applications and managed identities (learn.microsoft.com, "Access token claims reference").
 * One set of keys signs for every tenant, so the tenant and the version that `iss` names must be those of the claims. Tokens
 * that act for a person are refused: workloads have `idtyp: app`, or, where the tenant does not write that, a `sub` that is their
 * `oid`; and never `scp`. Entra names no unit of work.
 */
export const azure: Flavour = {
  name: 'azure',
  types: ['jwt'],
  check: (claims) => [tenant(claims), principal(claims), workload(claims), managed(claims)],
  run: () => undefined,
}

function tenant({ iss, tid, ver }: Claims): Finding {
  const rule = 'azure.tenant'
  const named = readEntraIssuer(String(iss))
  if (named === undefined || !isEntraId(named.tenant)) {
    return failed('token_invalid', rule, `${shown(iss)} is not the issuer of one tenant`)
  }
  if (tid !== named.tenant)
    return failed('token_invalid', rule, `iss says tenant ${shown(named.tenant)}, tid ${shown(tid)}`)
  return ver === named.version
    ? passed(rule, `iss, tid and ver ${named.version} agree`)
    : failed('token_invalid', rule, `iss is that of version ${named.version}, ver says ${shown(ver)}`)
}

function principal({ oid, appid, azp }: Claims): Finding {
  const rule = 'azure.principal'
  if (!isEntraId(oid)) return failed('token_invalid', rule, `oid ${shown(oid)} is not the id of a principal`)
  const application = appid ?? azp
  if (!isEntraId(application)) {
    return failed('token_invalid', rule, `neither appid nor azp is the id of an application: ${shown(application)}`)
  }
  return azp === undefined || azp === application
    ? passed(rule, 'it names a principal and an application')
    : failed('token_invalid', rule, `appid says ${shown(appid)}, azp ${shown(azp)}`)
}

function workload({ idtyp, scp, sub, oid }: Claims): Finding {
  const rule = 'azure.workload'
  if (scp !== undefined) return failed('token_invalid', rule, 'it has scp, so the application acts for a person')
  if (idtyp !== undefined) {
    return idtyp === 'app'
      ? passed(rule, 'idtyp is app')
      : failed('token_invalid', rule, `idtyp is ${shown(idtyp)}, not that of a workload`)
  }
  return sub === oid
    ? passed(rule, 'sub is oid, as for an application that acts for itself')
    : failed('token_invalid', rule, 'there is no idtyp and sub is not oid, so it may be that of a person')
}

/** The resource that a managed identity belongs to, where there is one. */
function managed({ xms_mirid: id }: Claims): Finding {
  const rule = 'azure.resource'
  if (id === undefined) return passed(rule, 'it names no resource')
  return typeof id === 'string' && resource.test(id)
    ? passed(rule, 'it names a resource of a subscription')
    : failed('token_invalid', rule, `${shown(id)} is not a resource`)
}
