import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { PolicySet } from '../../src/policy/compile.ts'
import { decide } from '../../src/policy/decide.ts'
import type { AccessRequest } from '../../src/policy/decision.ts'
import { loadPolicies, problemText } from '../../src/policy/load.ts'

/** What the policy stage costs; see the targets in the issue. */
export interface PolicyFigures {
  readonly workloads: number
  readonly loadMs: number
  /** Longest time the event loop stood still while the set was loaded. */
  readonly stallMs: number
  readonly decideP50Us: number
  readonly decideP99Us: number
  /** A refusal of a token that no workload fits. */
  readonly unknownP50Us: number
}

const nowMs = Date.UTC(2026, 10, 22, 12)
const request: AccessRequest = {
  purpose: 'read-orders',
  credential: undefined,
  ttlSeconds: 7200,
  reason: 'bench',
  task: '',
  taskEndsAtMs: undefined,
  params: {},
  delivery: undefined,
  ip: '192.0.2.1',
}

/** Loads an organisation with that many workloads, one file each, and decides for one in the middle of it. */
export async function measurePolicy(workloads: number): Promise<PolicyFigures> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-bench-'))
  try {
    await writeOrganisation(dir, workloads)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const startedMs = performance.now()
    const loaded = await loadPolicies(dir)
    const loadMs = performance.now() - startedMs
    delay.disable()
    if (!loaded.ok) throw new Error(loaded.problems.slice(0, 5).map(problemText).join('\n'))
    const known = timings(loaded.set, subjectOf(Math.floor(workloads / 2)), 'allow')
    const unknown = timings(loaded.set, 'system:serviceaccount:orders:nobody', 'deny')
    return {
      workloads,
      loadMs: Math.round(loadMs),
      stallMs: Math.round(delay.max / 1e6),
      decideP50Us: at(known, 0.5),
      decideP99Us: at(known, 0.99),
      unknownP50Us: at(unknown, 0.5),
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

function timings(set: PolicySet, subject: string, effect: string): Float64Array {
  const identity = {
    issuer: 'cluster-eu',
    subject,
    environment: 'prod',
    claims: { sub: subject, iss: 'x', aud: ['y'] },
  }
  const samples = new Float64Array(20_000)
  for (let i = -5_000; i < samples.length; i++) {
    const startedMs = performance.now()
    const decision = decide(set, identity, request, { active: 0, lastMinute: 0 }, nowMs)
    if (i >= 0) samples[i] = (performance.now() - startedMs) * 1000
    if (decision.effect !== effect) throw new Error(`the decision is ${decision.effect}`)
  }
  return samples.sort()
}

const at = (sorted: Float64Array, share: number): number =>
  Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 10) / 10

const subjectOf = (i: number): string => `system:serviceaccount:ns-${i % 100}:svc-${i}`

/** That many workloads in a folder, one file each, with what they refer to. */
export async function writeOrganisation(dir: string, workloads: number): Promise<void> {
  const common = `kind: Issuer
name: cluster-eu
flavour: kubernetes
url: https://kubernetes.default.svc
audience: https://writ.example.com
keys: { discovery: true }
environment: prod
---
kind: Team
name: sales
contact: { email: sales@example.com }
members: [{ issuer: cluster-eu, subject: alice@sales }]
---
kind: Team
name: hosting
contact: { email: hosting@example.com }
members: [{ issuer: cluster-eu, subject: carol@hosting }]
---
kind: Credential
name: orders-ro
engine: database
mount: database
role: orders-ro
environment: prod
sensitivity: medium
ttl: { max: 1h }
---
kind: Guardrail
name: organisation
applies: { environment: prod }
ttl: { max: 2h }
deny: request.task == "" && workload.type == "agent"
`
  await writeFile(join(dir, 'organisation.yaml'), common)
  await mkdir(join(dir, 'workloads'), { recursive: true })
  for (let i = 0; i < workloads; i++) await writeFile(join(dir, 'workloads', `svc-${i}.yaml`), workload(i))
}

// The size and shape of the example in the contract.
const workload = (i: number): string => `# yaml-language-server: $schema=../schema/workload.json
kind: Workload
name: svc-${i}
type: service                 # service | agent | pipeline | vendor
system: orders
owner: sales
backup: hosting
custodian: hosting
status: active                # proposed | active | suspended | retired
signoff: { by: alice@sales, on: 2026-11-02 }     # without it: no production purpose
match: { issuer: cluster-eu, claims: { sub: "${subjectOf(i)}" } }
purposes:
  - id: read-orders
    because: Show customers the orders they placed
    environment: prod
    credentials: [orders-ro]
    ttl: { default: 15m, max: 1h }
    when: request.reason != "" || workload.type == "service"
    approval: none
    limits: { active: 4, per_minute: 30 }
    renewable: true
    review: { every: 90d, last: 2026-11-02, by: alice@sales }
`
