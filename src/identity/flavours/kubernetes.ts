import { type Finding, failed, passed, shown } from '../check.ts'
import { member } from '../claim.ts'
import type { Claim } from '../identity.ts'
import type { Flavour } from './flavour.ts'

// Namespaces are DNS labels and service accounts DNS subdomains.
const serviceAccountSubject =
  /^system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/

/**
 * Projected service account tokens. `sub` names a service account, and the private claim `kubernetes.io` says the same
 * (kubernetes/kubernetes `pkg/serviceaccount/claims.go`). The pod's uid is the run.
 */
export const kubernetes: Flavour = {
  name: 'kubernetes',
  types: ['jwt'],
  check(claims) {
    const match = serviceAccountSubject.exec(String(claims.sub))
    if (match === null) {
      return [failed('token_invalid', 'kubernetes.subject', `${shown(claims.sub)} is not a service account`)]
    }
    const subject = passed('kubernetes.subject', 'sub names a service account')
    const bound = claims['kubernetes.io']
    if (bound === undefined) return [subject]
    return [subject, agreement(bound, match[1], match[2])]
  },
  run(claims) {
    const uid = member(member(claims['kubernetes.io'], 'pod'), 'uid')
    return isUid(uid) ? `pod/${uid}` : undefined
  },
}

function agreement(bound: Claim, namespace: string | undefined, account: string | undefined): Finding {
  const rule = 'kubernetes.binding'
  const given = { namespace: member(bound, 'namespace'), account: member(member(bound, 'serviceaccount'), 'name') }
  if (given.namespace !== namespace) {
    return failed(
      'token_invalid',
      rule,
      `kubernetes.io says namespace ${shown(given.namespace)}, sub ${shown(namespace)}`,
    )
  }
  if (given.account !== account) {
    return failed(
      'token_invalid',
      rule,
      `kubernetes.io says service account ${shown(given.account)}, sub ${shown(account)}`,
    )
  }
  const pod = member(bound, 'pod')
  if (pod !== undefined && !isUid(member(pod, 'uid'))) return failed('token_invalid', rule, 'the pod has no uid')
  return passed(
    rule,
    pod === undefined ? 'kubernetes.io and sub agree; no pod' : 'kubernetes.io and sub agree; bound to a pod',
  )
}

const isUid = (value: Claim | undefined): value is string =>
  typeof value === 'string' && /^[0-9A-Za-z-]{1,64}$/.test(value)
