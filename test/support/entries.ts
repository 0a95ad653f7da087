import { canonicalJson } from '../../src/ledger/canonical.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'

const digest = (character: string): string => character.repeat(64)

/** A grant id of the right shape, different for each number. */
export const grantOf = (n: number): string => `gr_${String(n).padStart(26, '0')}`

/** What is recorded before a mint, as large as in practice. */
export const intentEntry = (n: number): EntryBody => ({
  kind: 'grant.intent',
  actor: {
    type: 'workload',
    name: 'checkout',
    issuer: 'cluster-eu',
    subject: 'system:serviceaccount:orders:checkout',
  },
  workload: 'checkout',
  owner: 'payments',
  purpose: 'read-orders',
  environment: 'prod',
  credential: 'orders-ro',
  grant: grantOf(n),
  policy: digest('a'),
  request: `rq_${String(n).padStart(26, '0')}`,
  token: digest('b'),
  engine: 'database',
  mount: 'database',
  role: 'orders-ro',
  delivery: 'plain',
  ttl: 900,
  ceilings: [{ name: 'purpose', seconds: 900 }],
  data: ['orders', 'customers.email'],
  sensitivity: 'medium',
  reason: 'Show orders',
})

/** What is recorded once Vault has answered. */
export const issuedEntry = (n: number): EntryBody => ({
  kind: 'grant.issued',
  data: ['orders'],
  sensitivity: 'medium',
  ceilings: [],
  actor: { type: 'broker', reason: 'issue' },
  workload: 'checkout',
  owner: 'payments',
  purpose: 'read-orders',
  environment: 'prod',
  credential: 'orders-ro',
  grant: grantOf(n),
  policy: digest('a'),
  lease: { hash: digest('c'), sealed: 'eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA' },
  ids: [{ type: 'database_user', value: `v-checkout-${n}` }],
  expires: '2026-11-22T12:15:00.000Z',
  renewable: true,
  revocable: true,
  static: false,
})

export const renewedEntry = (n: number): EntryBody => ({
  kind: 'grant.renewed',
  actor: { type: 'broker', reason: 'renew' },
  grant: grantOf(n),
  expires: '2026-11-22T12:15:00.000Z',
  ceilings: [],
})

export const endedEntry = (n: number): EntryBody => ({
  kind: 'grant.ended',
  actor: { type: 'broker', reason: 'revoke' },
  grant: grantOf(n),
  cause: 'handed_back',
  outcome: 'revoked',
})

/** The policy set that the entries above name. */
export const loadedEntry: EntryBody = {
  kind: 'policy.loaded',
  actor: { type: 'broker', reason: 'start' },
  policy: digest('a'),
  workloads: 3,
  warnings: 0,
}

/** A small entry with a number in it, for tests about the record and not about grants. */
export const numberedEntry = (n: number): EntryBody => ({
  kind: 'config.changed',
  actor: { type: 'broker', reason: 'test' },
  setting: `n${n}`,
  detail: 'é'.repeat(n % 7),
})

/** The canonical text of an entry, a second later for each index. */
export const stampedEntry = (body: EntryBody, index = 0): string =>
  canonicalJson({ ...body, v: 1, time: new Date(Date.UTC(2026, 10, 22, 12, 0, index)).toISOString() })
