import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { PolicySet } from '../../src/policy/compile.ts'
import { decide } from '../../src/policy/decide.ts'
import type { AccessRequest, Decision } from '../../src/policy/decision.ts'
import { loadPolicies, type PolicyProblem, problemText } from '../../src/policy/load.ts'
import type { DecidableIdentity } from '../../src/policy/stand.ts'

/** The smallest organisation in which every rule can be shown. */
export const base: Readonly<Record<string, string>> = {
  'issuer.yaml': `kind: Issuer
name: cluster-eu
flavour: kubernetes
url: https://kubernetes.default.svc
audience: https://writ.example.com
keys: { discovery: true }
environment: prod
`,
  'teams.yaml': `kind: Team
name: payments
contact: { email: payments@example.com }
members: [{ issuer: cluster-eu, subject: alice }, { issuer: cluster-eu, subject: bob }]
---
kind: Team
name: platform
contact: { email: platform@example.com }
members: [{ issuer: cluster-eu, subject: carol }]
roles: [operator]
`,
  'credentials.yaml': `kind: Credential
name: orders-ro
engine: database
mount: database
role: orders-ro
environment: prod
sensitivity: medium
ttl: { max: 2h }
---
kind: Credential
name: orders-rw
engine: database
mount: database
role: orders-rw
environment: prod
sensitivity: high
ttl: { max: 2h }
---
kind: Credential
name: key
engine: kv
mount: secret
path: vendor/key
environment: prod
sensitivity: low
`,
  'workload.yaml': `kind: Workload
name: checkout
type: service
system: orders
owner: payments
backup: platform
custodian: platform
status: active
signoff: { by: alice, on: 2026-11-02 }
match: { issuer: cluster-eu, claims: { sub: "system:serviceaccount:orders:checkout" } }
purposes:
  - id: read
    because: Show orders
    environment: prod
    credentials: [orders-ro, orders-rw]
    ttl: { default: 15m, max: 1h }
    limits: { active: 4, per_minute: 30 }
    renewable: true
    review: { every: 90d, last: 2026-11-02, by: alice }
  - id: export
    because: Send totals
    environment: prod
    credentials: [key]
    ttl: { max: 1h }
    review: { every: 90d, last: 2026-11-02, by: alice }
`,
}

export const guardrail = `kind: Guardrail
name: high
applies: { environment: prod, sensitivity: high }
ttl: { max: 30m }
approval: owner
`

export const exception = (relaxes: string, extra = ''): string => `kind: Exception
name: ${relaxes.replaceAll('_', '-')}-now
relaxes: ${relaxes}
workload: checkout
purpose: ${relaxes.includes('credential') ? 'export' : 'read'}
reason: It cannot be done yet
compensating: It is watched
requested_by: bob
approved_by: carol
until: 2026-12-31
${extra}`

/** Noon of a day on which every review of `base` is current. */
export const noonMs = Date.UTC(2026, 10, 22, 12)

/** Writes files into a folder that is removed when the test ends. */
export async function folder(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-policy-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(dir, name)), { recursive: true })
    await writeFile(join(dir, name), content)
  }
  return dir
}

/** Replaces text in one file of `base`; fails when it is not there, so that no test checks the wrong thing. */
export function edit(file: string, from: string, to: string, files = base): Record<string, string> {
  const text = files[file] ?? ''
  if (!text.includes(from)) throw new Error(`${file} does not hold ${from}`)
  return { ...files, [file]: text.replace(from, to) }
}

export async function loadSet(files: Readonly<Record<string, string>> = base): Promise<PolicySet> {
  const result = await loadPolicies(await folder(files))
  if (!result.ok) throw new Error(result.problems.map(problemText).join('\n'))
  return result.set
}

/** Problems of a set that must not load, as `file:line:col: message, fix`. */
export async function problemsOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<string[]> {
  const result = await loadPolicies(await folder(files))
  if (result.ok) throw new Error('it loads')
  return result.problems.filter(({ severity }: PolicyProblem) => severity === 'error').map(problemText)
}

export async function warningsOf(files: Readonly<Record<string, string>>): Promise<string[]> {
  return (await loadSet(files)).warnings.map(problemText)
}

export const checkout: DecidableIdentity = {
  issuer: 'cluster-eu',
  subject: 'system:serviceaccount:orders:checkout',
  claims: { sub: 'system:serviceaccount:orders:checkout' },
  environment: 'prod',
}

export const request: AccessRequest = {
  purpose: 'read',
  credential: 'orders-ro',
  ttlSeconds: undefined,
  reason: '',
  task: '',
  taskEndsAtMs: undefined,
  params: {},
  delivery: undefined,
  ip: '192.0.2.1',
}

interface Change {
  readonly identity?: Partial<DecidableIdentity>
  readonly request?: Partial<AccessRequest>
  readonly active?: number
  readonly lastMinute?: number
  readonly nowMs?: number
}

/** What the set decides about checkout, but for what is changed. */
export function ask(set: PolicySet, change: Change = {}): Decision {
  const counters = { active: change.active ?? 0, lastMinute: change.lastMinute ?? 0 }
  const wanted = { ...request, ...change.request }
  return decide(set, { ...checkout, ...change.identity }, wanted, counters, change.nowMs ?? noonMs)
}

/** `allow`, `needs_approval`, or the code of the refusal. */
export const outcome = (decision: Decision): string =>
  decision.effect === 'deny' ? decision.refusal.code : decision.effect
