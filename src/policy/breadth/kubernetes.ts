import type { ClaimRule } from '../match.ts'
import { segmentsOf } from '../match.ts'
import type { BreadthProblem, MatchLook, Platform } from './platform.ts'

const uid = 'kubernetes.io/serviceaccount/uid'
const deleted = 'names whatever is made under that name after the first one was deleted'

/** Service account tokens (see `identity/flavours/kubernetes.ts`). */
export const kubernetes: Platform = {
  forms: ['system', 'serviceaccount'],
  recyclable: {
    sub: { why: deleted, instead: [uid] },
    'kubernetes.io/namespace': { why: deleted, instead: [uid] },
    'kubernetes.io/serviceaccount/name': { why: deleted, instead: [uid] },
    'kubernetes.io/pod/name': { why: deleted, instead: ['kubernetes.io/pod/uid'] },
    'kubernetes.io/node/name': { why: deleted, instead: ['kubernetes.io/node/uid'] },
  },
  pins: [{ labels: ['sub'] }, { labels: [uid] }],
  match: breadth,
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
  const sub = rules.find(({ label }) => label === 'sub')
  const parts = typeof sub?.pattern === 'string' ? segmentsOf(sub.pattern).segments : []
  const named = (wanted: string): ClaimRule | undefined =>
    rules.find(({ label }) => label.replaceAll('/', '.') === `kubernetes.io.${wanted}`)
  const namespace = parts[2] ?? named('namespace')?.pattern
  const account = parts[3] ?? named('serviceaccount.name')?.pattern ?? named('serviceaccount.uid')?.pattern
  const open = (text: unknown): boolean => typeof text !== 'string' || text.includes('*')
  const pinned = named('namespace') !== undefined && !open(named('namespace')?.pattern)
  if (open(namespace) && !pinned && (account === undefined || account === '*')) {
    return [
      {
        severity: 'error',
        path: sub?.path,
        message: 'the match is so wide that any service account fits',
        fix: 'write the namespace and the service account in full: system:serviceaccount:NAMESPACE:NAME',
      },
    ]
  }
  if (open(namespace) && !pinned) {
    return [
      {
        severity: 'error',
        path: sub?.path,
        message: 'the match takes in any namespace, and whoever makes a namespace names its service accounts',
        fix: 'write the namespace in full',
      },
    ]
  }
  if (account !== undefined && account !== '*') return []
  return [
    {
      severity: 'warning',
      path: sub?.path,
      message: 'every service account of the namespace is this workload',
      fix: 'name the service account, unless the namespace holds one workload only',
    },
  ]
}
