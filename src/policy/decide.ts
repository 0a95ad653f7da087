import { ok, type Result } from '../base/result.ts'
import type { Access, AccessRequest, Counters, Decision, Subject } from './decision.ts'
import { type Life, lifeOf } from './life.ts'
import type { PolicySet, TaskRule } from './policy-set.ts'
import {
  applicable,
  type Case,
  checkGuardrails,
  checkLimits,
  checkRequest,
  checkStatic,
  checkTask,
  checkWhen,
  chooseCredential,
} from './rules.ts'
import { createTrail, type DecidableIdentity, findFooting, relaxed, type Stop, type Trail } from './stand.ts'

/**
 * Whether this identity may have what it asks for. Pure and deterministic: the same policies, identity, request, counters
 * and time give the same bytes (invariant 4). Deny is the default and beats allow; every rule looked at is among the reasons,
 * in order, passes included. `nowMs` is milliseconds since the epoch.
 */
export function decide(
  set: PolicySet,
  identity: DecidableIdentity,
  request: AccessRequest,
  counters: Counters,
  nowMs: number,
): Decision {
  const trail = createTrail()
  const { subject: known, result: footing } = findFooting(set, identity, request.purpose, nowMs, trail)
  if ('stop' in footing) return deny(set, trail, footing, known)
  const credential = chooseCredential(footing.purpose, request.credential, trail)
  if ('stop' in credential) return deny(set, trail, credential, known)
  const subject: Subject = { ...known, credential: credential.name }
  const guardrails = applicable(set, identity.issuer, footing, credential)
  const leaning = [...footing.leaning]
  const here: Case = { set, identity, request, footing, credential, guardrails, counters, nowMs, trail, leaning }
  const stop = checkGuardrails(here) ?? checkStatic(here) ?? checkTask(here) ?? checkWhen(here) ?? checkRequest(here)
  if (stop !== undefined) return deny(set, trail, stop, subject)
  const level = approvalLevel(here)
  const life = lifeOf(here)
  if ('stop' in life) return deny(set, trail, life, subject)
  const limited = checkLimits(here)
  if (limited !== undefined) return deny(set, trail, limited, subject)
  const access = accessOf(here, life)
  const { reasons } = trail
  if (level === 'none') return { effect: 'allow', access, reasons, policy: set.digest }
  return { effect: 'needs_approval', access, level, approvers: approversOf(here, level), reasons, policy: set.digest }
}

/** What a workload may do under a purpose before a credential is chosen: the first half of `decide`, used to open tasks. */
export function standing(
  set: PolicySet,
  identity: DecidableIdentity,
  purposeId: string,
  nowMs: number,
): Result<
  Pick<Access, 'workload' | 'workloadType' | 'owner' | 'backup' | 'purpose' | 'environment' | 'limits'> & {
    readonly maxTtlSeconds: number
    readonly task: TaskRule | undefined
    /** When the purpose ends (ms since the epoch), and every task that works for it. */
    readonly untilMs: number | undefined
  }
> {
  const trail = createTrail()
  const { result } = findFooting(set, identity, purposeId, nowMs, trail)
  if ('stop' in result) return { ok: false, refusal: { code: result.stop, reasons: trail.reasons } }
  const { workload, purpose } = result
  const left = purpose.untilMs === undefined ? purpose.maxSeconds : Math.floor((purpose.untilMs - nowMs) / 1000)
  return ok({
    workload: workload.name,
    workloadType: workload.policy.type,
    owner: workload.policy.owner,
    backup: workload.policy.backup,
    purpose: purpose.policy.id,
    environment: purpose.policy.environment,
    limits: { active: purpose.policy.limits.active, perMinute: purpose.policy.limits.per_minute },
    maxTtlSeconds: Math.min(purpose.maxSeconds, left),
    task: purpose.task,
    untilMs: purpose.untilMs,
  })
}

function deny(set: PolicySet, trail: Trail, { stop, retryAfterSeconds }: Stop, subject: Subject): Decision {
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds }
  return { effect: 'deny', refusal: { code: stop, reasons: trail.reasons, ...wait }, subject, policy: set.digest }
}

const levels = ['none', 'owner', 'two-person'] as const
type Level = (typeof levels)[number]
const higher = (a: Level, b: Level): Level => (levels.indexOf(a) >= levels.indexOf(b) ? a : b)

/** The highest level that the purpose or a guardrail asks for; an Exception lifts that of guardrails only. */
export function approvalLevel({ footing, guardrails, nowMs, trail, leaning }: Case): Level {
  const own = footing.purpose.policy.approval
  let level: Level = own
  for (const { policy } of guardrails) level = higher(level, policy.approval ?? 'none')
  const exception = level === own ? undefined : relaxed(footing.purpose, 'approval', nowMs, trail)
  if (exception !== undefined) {
    leaning.push(exception)
    level = own
  }
  trail.pass('approval', level)
  return level
}

/** One yes comes from the team that answers; two may also come from its backup, so that a small team is enough. */
function approversOf({ set, footing }: Case, level: Level): readonly string[] {
  const { backup } = footing.workload.policy
  const backupActive = set.byName.team.get(backup)?.status === 'active'
  if (level === 'owner' || !backupActive || backup === footing.answering) return [footing.answering]
  return [footing.answering, backup]
}

/** Characters of JSON. */
const mostKeptParams = 4096

/** A renewal is decided over the parameters of the request again, so what is too long to be kept with the grant is not renewed. */
const keepsParams = (params: AccessRequest['params']): boolean =>
  Object.keys(params).length === 0 || JSON.stringify(params).length <= mostKeptParams

function accessOf({ footing, credential, request, leaning }: Case, { ttlSeconds, ceilings, cappedBy }: Life): Access {
  const { workload, purpose } = footing
  const { type, owner, backup } = workload.policy
  const { limits, renewable, id, environment } = purpose.policy
  return {
    workload: workload.name,
    workloadType: type,
    owner,
    backup,
    purpose: id,
    environment,
    credential: credential.name,
    target: credential.target,
    accepts: credential.accepts,
    data: credential.data,
    sensitivity: credential.sensitivity,
    ttlSeconds,
    cappedBy,
    ceilings,
    delivery: request.delivery ?? credential.delivery[0] ?? 'plain',
    renewable: renewable && !credential.isStatic && keepsParams(request.params),
    limits: {
      active: limits.active,
      perMinute: limits.per_minute,
      taskActive: purpose.task?.active,
      taskGrants: purpose.task?.grants,
    },
    exception: leaning[0]?.name,
  }
}
