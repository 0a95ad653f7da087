import type { Code } from '../base/codes.ts'
import type { Reason } from '../base/result.ts'
import type { Identity } from '../identity/identity.ts'
import type { Subject } from './decision.ts'
import type { ExceptionPolicy } from './exception.ts'
import { productionEnvironments } from './fields.ts'
import { fitting } from './parties.ts'
import type { CompiledException, CompiledPurpose, CompiledWorkload, PolicySet } from './policy-set.ts'

/** The part of an Identity that policy looks at. Test cases and `explain` make one from claims that nobody signed. */
export type DecidableIdentity = Pick<Identity, 'issuer' | 'subject' | 'claims' | 'environment'>

/** Collects what was looked at, in order. The first failure decides. */
export interface Trail {
  readonly reasons: Reason[]
  pass(rule: string, detail: string): void
  fail(code: Code, rule: string, detail: string): Stop
}

/** The code of a refusal; the reasons are on the trail. */
export interface Stop {
  readonly stop: Code
  readonly retryAfterSeconds?: number
}

export function createTrail(): Trail {
  const reasons: Reason[] = []
  return {
    reasons,
    pass: (rule, detail) => {
      reasons.push({ rule, ok: true, detail })
    },
    fail(code, rule, detail) {
      reasons.push({ rule, ok: false, detail })
      return { stop: code }
    },
  }
}

/** Who asks and why, once that much is settled. */
export interface Footing {
  readonly workload: CompiledWorkload
  readonly purpose: CompiledPurpose
  /** The team that answers: the owner, or the backup of a leaving one. */
  readonly answering: string
  /** Ends of the exceptions this stands on. */
  readonly leaning: readonly CompiledException[]
}

/** The first half of every decision: the workload, its owner, its purpose and the environment. */
export function findFooting(
  set: PolicySet,
  identity: DecidableIdentity,
  purposeId: string,
  nowMs: number,
  trail: Trail,
): { readonly subject: Subject; readonly result: Footing | Stop } {
  const matched = matchWorkload(set, identity, trail)
  if ('stop' in matched) return { subject: {}, result: matched }
  return footingOf(set, matched, { purposeId, environment: identity.environment }, nowMs, trail)
}

/** The same for a workload that is known already. */
export function footingOf(
  set: PolicySet,
  matched: CompiledWorkload,
  { purposeId, environment: had }: { readonly purposeId: string; readonly environment: string | undefined },
  nowMs: number,
  trail: Trail,
): { readonly subject: Subject; readonly result: Footing | Stop } {
  const { name, policy, purposes } = matched
  const owned = { workload: name, owner: policy.owner }
  if (policy.status !== 'active') {
    return {
      subject: owned,
      result: trail.fail('workload_suspended', 'workload.status', `${name} is ${policy.status}`),
    }
  }
  trail.pass('workload.status', 'active')
  const answering = answeringTeam(set, matched, trail)
  if (typeof answering !== 'string') return { subject: owned, result: answering }
  const purpose = purposes.get(purposeId)
  if (purpose === undefined) {
    return { subject: owned, result: trail.fail('purpose_unknown', 'purpose', `${name} has no purpose of that name`) }
  }
  const { id, environment } = purpose.policy
  trail.pass('purpose', id)
  const subject = { ...owned, purpose: id, environment }
  return { subject, result: checkPurpose(matched, purpose, answering, had, nowMs, trail) }
}

function matchWorkload(set: PolicySet, identity: DecidableIdentity, trail: Trail): CompiledWorkload | Stop {
  const [first, ...others] = fitting(set, identity)
  if (first === undefined) {
    return trail.fail('workload_unknown', 'workload.match', `no workload of ${identity.issuer} fits these claims`)
  }
  if (others.length > 0) {
    const names = [first, ...others].slice(0, 5).map(({ name }) => name)
    return trail.fail('workload_ambiguous', 'workload.match', `fits ${names.join(' and ')}`)
  }
  trail.pass('workload.match', first.name)
  return first
}

function answeringTeam(set: PolicySet, { policy }: CompiledWorkload, trail: Trail): string | Stop {
  const status = set.byName.team.get(policy.owner)?.status
  if (status === 'active') {
    trail.pass('workload.owner', policy.owner)
    return policy.owner
  }
  const backup = set.byName.team.get(policy.backup)?.status
  if (status === 'leaving' && backup === 'active') {
    trail.pass('workload.owner', `${policy.owner} is leaving, ${policy.backup} answers`)
    return policy.backup
  }
  const detail = `${policy.owner} is ${status ?? 'unknown'} and its backup ${policy.backup} is ${backup ?? 'unknown'}`
  return trail.fail('owner_missing', 'workload.owner', detail)
}

function checkPurpose(
  workload: CompiledWorkload,
  purpose: CompiledPurpose,
  answering: string,
  had: string | undefined,
  nowMs: number,
  trail: Trail,
): Footing | Stop {
  const { untilMs, policy } = purpose
  if (untilMs !== undefined) {
    if (nowMs >= untilMs) return trail.fail('purpose_ended', 'purpose.until', `ended ${policy.until}`)
    trail.pass('purpose.until', `until ${policy.until}`)
  }
  if (productionEnvironments.has(policy.environment)) {
    const { signoff } = workload.policy
    if (signoff === undefined) {
      return trail.fail('owner_missing', 'workload.signoff', `${workload.name} is not signed off for production`)
    }
    trail.pass('workload.signoff', `${signoff.by} on ${signoff.on}`)
  }
  const leaning: CompiledException[] = []
  const environment = checkEnvironment(purpose, had, nowMs, trail, leaning)
  return environment ?? { workload, purpose, answering, leaning }
}

function checkEnvironment(
  purpose: CompiledPurpose,
  had: string | undefined,
  nowMs: number,
  trail: Trail,
  leaning: CompiledException[],
): Stop | undefined {
  const wanted = purpose.policy.environment
  if (had === wanted) {
    trail.pass('environment', wanted)
    return undefined
  }
  const mismatch = `the token is of ${had ?? 'no environment'}, the purpose of ${wanted}`
  const exception = required(purpose, 'environment', nowMs, trail)
  if (exception === undefined) return trail.fail('condition_failed', 'environment', mismatch)
  if ('stop' in exception) return exception
  trail.pass('environment', `${mismatch}, allowed by ${exception.name}`)
  leaning.push(exception)
  return undefined
}

/** The Exception that relaxes a rule now, if there is one that has not ended. */
export function relaxed(
  purpose: CompiledPurpose,
  rule: ExceptionPolicy['relaxes'],
  nowMs: number,
  trail: Trail,
): CompiledException | undefined {
  const exception = purpose.exceptions.get(rule)
  if (exception === undefined || nowMs >= exception.untilMs) return undefined
  trail.pass(`exception ${exception.name}`, `relaxes ${rule} until ${new Date(exception.untilMs).toISOString()}`)
  return exception
}

/** The same where access rests on the Exception: one that has ended stops, and `undefined` means there never was one. */
export function required(
  purpose: CompiledPurpose,
  rule: ExceptionPolicy['relaxes'],
  nowMs: number,
  trail: Trail,
): CompiledException | Stop | undefined {
  const exception = purpose.exceptions.get(rule)
  if (exception !== undefined && nowMs >= exception.untilMs) {
    const ended = new Date(exception.untilMs).toISOString()
    return trail.fail('exception_expired', `exception ${exception.name}`, `it relaxed ${rule} until ${ended}`)
  }
  return relaxed(purpose, rule, nowMs, trail)
}
