import type { IssuerPolicy } from '../issuer.ts'
import { type ClaimRule, segmentsOf } from '../match.ts'
import {
  type BreadthProblem,
  error,
  type IssuerProblem,
  isWhole,
  type MatchLook,
  type Platform,
  ruleFor,
  sharedAudience,
  warning,
} from './platform.ts'

const uid = 'kubernetes.io/serviceaccount/uid'
const made = 'names whatever is made under that name after the first one was deleted'

/** Service account tokens (see `identity/flavours/kubernetes.ts`). */
export const kubernetes: Platform = {
  forms: ['system', 'serviceaccount'],
  // Advice for who writes a policy, not a warning: whoever may make service accounts in a namespace is trusted with it anyway.
  recyclable: {
    sub: { why: made, instead: [uid] },
    'kubernetes.io/namespace': { why: made, instead: [uid] },
    'kubernetes.io/serviceaccount/name': { why: made, instead: [uid] },
    'kubernetes.io/pod/name': { why: made, instead: ['kubernetes.io/pod/uid'] },
    'kubernetes.io/node/name': { why: made, instead: ['kubernetes.io/node/uid'] },
  },
  pins: [{ labels: ['sub'] }, { labels: [uid] }],
  owns: (url) =>
    ['https://container.googleapis.com/v1/projects/', 'https://kubernetes.default.svc'].some((start) =>
      url.startsWith(start),
    ),
  issuer: trust,
  match: breadth,
}

function trust(issuer: IssuerPolicy): readonly IssuerProblem[] {
  const legacy =
    issuer.url === 'kubernetes/serviceaccount'
      ? [error(['url'], 'this signs tokens without an end and without an audience', 'take projected tokens instead')]
      : []
  const shared = sharedAudience(
    issuer,
    (one) => one === issuer.url || one.startsWith('https://kubernetes.default.svc'),
    'the token for the API server, which every pod is given without asking, fits here, and one sent here would fit there',
  )
  return [...legacy, ...shared]
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
  const sub = ruleFor(rules, 'sub')
  const parts = typeof sub?.pattern === 'string' ? segmentsOf(sub.pattern).segments : []
  const named = (wanted: string): ClaimRule | undefined =>
    rules.find(({ label }) => label.replaceAll('/', '.') === `kubernetes.io.${wanted}`)
  const namespace = parts[2] ?? named('namespace')?.pattern
  const account = parts[3] ?? named('serviceaccount.name')?.pattern ?? named('serviceaccount.uid')?.pattern
  const open = (text: unknown): boolean => typeof text !== 'string' || text.includes('*')
  const pinned = named('namespace') !== undefined && !open(named('namespace')?.pattern)
  // The uid of a service account is one account's in one namespace, whatever either is called.
  if (isWhole(String(named('serviceaccount.uid')?.pattern ?? ''))) return []
  if (open(namespace) && !pinned && (account === undefined || account === '*')) {
    return [
      error(
        sub?.path,
        'the match is so wide that any service account fits',
        'write the namespace and the service account in full: system:serviceaccount:NAMESPACE:NAME',
      ),
    ]
  }
  if (open(namespace) && !pinned) {
    return [
      error(
        sub?.path,
        'the match takes in any namespace, and whoever makes a namespace names its service accounts',
        'write the namespace in full',
      ),
    ]
  }
  if (account !== undefined && account !== '*') return []
  return [
    warning(
      sub?.path,
      'every service account of the namespace is this workload',
      'name the service account, unless the namespace holds one workload only',
    ),
  ]
}
