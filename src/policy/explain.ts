import type { Reason } from '../base/result.ts'
import type { Claim } from '../identity/identity.ts'
import type { Condition } from './condition.ts'
import { decide } from './decide.ts'
import type { AccessRequest, Counters, Decision } from './decision.ts'
import { claimAt } from './match.ts'
import { fitting } from './parties.ts'
import type { CompiledWorkload, PolicySet } from './policy-set.ts'
import { applicable, type Case, chooseCredential, contextOf } from './rules.ts'
import { createTrail, type DecidableIdentity, findFooting } from './stand.ts'

/** One claim that a workload asks for, and what the token has there. */
interface ClaimFinding {
  readonly claim: string
  readonly wanted: string
  readonly found: string
  readonly ok: boolean
}

/** A workload held against the token, claim by claim. */
interface WorkloadFinding {
  readonly workload: string
  readonly claims: readonly ClaimFinding[]
}

/** One part of a condition, what it came to, and the values it looked at. */
interface ConditionFinding {
  /** `purpose.when`, or `guardrail NAME`. */
  readonly rule: string
  readonly text: string
  readonly result: 'true' | 'false' | 'undecided'
  readonly values: readonly { readonly text: string; readonly value: string }[]
}

/** A decision with everything that led to it. Holds claim text: for operators and owners, not for strangers. */
export interface Explanation {
  readonly decision: Decision
  /** The workloads the token fits; when there is none, the nearest one of the same issuer. */
  readonly workloads: readonly WorkloadFinding[]
  readonly nearest: boolean
  readonly conditions: readonly ConditionFinding[]
}

/** Decides as `decide` does, and shows the work. Pure; looks at all workloads of the issuer when none fits. */
export function explain(
  set: PolicySet,
  identity: DecidableIdentity,
  request: AccessRequest,
  counters: Counters,
  nowMs: number,
): Explanation {
  const decision = decide(set, identity, request, counters, nowMs)
  const fits = fitting(set, identity)
  const close = fits.length > 0 ? undefined : nearestWorkload(set, identity)
  const shown = close === undefined ? fits : [close]
  return {
    decision,
    workloads: shown.map((workload) => holdAgainst(workload, identity)),
    nearest: close !== undefined,
    conditions: conditionsOf(set, identity, request, counters, nowMs),
  }
}

function holdAgainst(workload: CompiledWorkload, identity: DecidableIdentity): WorkloadFinding {
  const claims = workload.rules.map(({ label, path, pattern, test }) => {
    const value = claimAt(identity.claims, path)
    return { claim: label, wanted: JSON.stringify(pattern), found: shownClaim(value), ok: test(value) }
  })
  return { workload: workload.name, claims }
}

const shownClaim = (value: Claim | undefined): string =>
  value === undefined ? 'missing' : JSON.stringify(value).slice(0, 300)

/** The workload of the same issuer that the most claims fit; the first by name among equals. */
function nearestWorkload(set: PolicySet, identity: DecidableIdentity): CompiledWorkload | undefined {
  let best: { workload: CompiledWorkload; score: number } | undefined
  for (const workload of set.workloads) {
    if (workload.policy.match.issuer !== identity.issuer) continue
    const score = closeness(workload, identity)
    const better =
      best === undefined || score > best.score || (score === best.score && workload.name < best.workload.name)
    if (better) best = { workload, score }
  }
  return best?.workload
}

/** From 0 to 1: how much of each wanted claim is there, by how far the texts agree from the front. */
function closeness(workload: CompiledWorkload, identity: DecidableIdentity): number {
  const scores = workload.rules.map(({ path, pattern, test }): number => {
    const value = claimAt(identity.claims, path)
    if (test(value)) return 1
    if (typeof value !== 'string' || typeof pattern !== 'string') return 0
    let same = 0
    while (same < pattern.length && pattern[same] === value[same]) same++
    return same / Math.max(pattern.length, value.length)
  })
  return scores.reduce((sum, score) => sum + score, 0) / Math.max(1, scores.length)
}

function conditionsOf(
  set: PolicySet,
  identity: DecidableIdentity,
  request: AccessRequest,
  counters: Counters,
  nowMs: number,
): readonly ConditionFinding[] {
  const trail = createTrail()
  const { result: footing } = findFooting(set, identity, request.purpose, nowMs, trail)
  if ('stop' in footing) return []
  const credential = chooseCredential(footing.purpose, request.credential, trail)
  if ('stop' in credential) return []
  const guardrails = applicable(set, identity.issuer, footing, credential)
  const here: Case = { set, identity, request, footing, credential, guardrails, counters, nowMs, trail, leaning: [] }
  const context = contextOf(here)
  const describe = (rule: string, condition: Condition): ConditionFinding => {
    const verdict = condition.evaluate(context)
    const result = 'undecided' in verdict ? 'undecided' : verdict.value ? 'true' : 'false'
    return { rule, text: condition.text, result, values: condition.operands(context) }
  }
  const { when } = footing.purpose
  return [
    ...guardrails.flatMap(({ name, deny }) =>
      deny === undefined || deny === true ? [] : deny.parts().map((part) => describe(`guardrail ${name}`, part)),
    ),
    ...(when?.parts() ?? []).map((part) => describe('purpose.when', part)),
  ]
}

const mark = (ok: boolean): string => (ok ? 'pass' : 'FAIL')

/** An explanation in words, one finding a line. `trail` are the checks of the token that came before. */
export function explainText(explanation: Explanation, trail: readonly Reason[] = []): string {
  const { decision, workloads, nearest, conditions } = explanation
  const lines: string[] = []
  if (trail.length > 0) lines.push('token', ...trail.map(reasonLine))
  if (nearest) lines.push('no workload fits; the nearest one')
  for (const { workload, claims } of workloads) {
    lines.push(`workload ${workload}`)
    for (const { claim, wanted, found, ok } of claims) {
      lines.push(`  ${mark(ok)}  ${claim} must be ${wanted}${ok ? '' : `, is ${found}`}`)
    }
  }
  lines.push('rules', ...(decision.effect === 'deny' ? decision.refusal.reasons : decision.reasons).map(reasonLine))
  for (const { rule, text, result, values } of conditions) {
    lines.push(`condition of ${rule}`, `  ${result.padEnd(9)}  ${text}`)
    for (const { text: name, value } of values) lines.push(`             ${name} is ${value}`)
  }
  lines.push(...verdictLines(decision), `policies ${decision.policy}`)
  return `${lines.join('\n')}\n`
}

const reasonLine = ({ rule, ok, detail }: Reason): string =>
  `  ${mark(ok)}  ${rule}${detail === '' ? '' : `: ${detail}`}`

function verdictLines(decision: Decision): string[] {
  if (decision.effect === 'deny') return [`denied: ${decision.refusal.code}`]
  const { credential, ttlSeconds, cappedBy, environment } = decision.access
  const capped = cappedBy.length === 0 ? '' : `, capped by ${cappedBy.join(', ')}`
  const given = `${credential} in ${environment} for ${ttlSeconds} seconds${capped}`
  if (decision.effect === 'allow') return [`allowed: ${given}`]
  return [`allowed after approval (${decision.level}) by ${decision.approvers.join(' or ')}: ${given}`]
}
