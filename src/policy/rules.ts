import { CelIssuer, CelRequest, type Condition, type ConditionContext } from './condition.ts'
import type { AccessRequest, Counters } from './decision.ts'
import { type Forgotten, forgetful } from './forgotten.ts'
import type {
  CompiledCredential,
  CompiledException,
  CompiledGuardrail,
  CompiledPurpose,
  PolicySet,
} from './policy-set.ts'
import { type DecidableIdentity, type Footing, required, type Stop, type Trail } from './stand.ts'

/** Everything that the rules after the footing look at. */
export interface Case {
  readonly set: PolicySet
  readonly identity: DecidableIdentity
  readonly request: AccessRequest
  readonly footing: Footing
  readonly credential: CompiledCredential
  /** Guardrails that apply here. */
  readonly guardrails: readonly CompiledGuardrail[]
  readonly counters: Counters
  readonly nowMs: number
  readonly trail: Trail
  /** Exceptions this access rests on; each bounds its life. */
  readonly leaning: CompiledException[]
  /** The token is long gone, and these fields of the request with it: a condition that turns on them binds nobody here. */
  readonly past?: readonly Forgotten[]
}

/** The credential that was asked for, or the only one. */
export function chooseCredential(
  purpose: CompiledPurpose,
  name: string | undefined,
  trail: Trail,
): CompiledCredential | Stop {
  const { credentials, policy } = purpose
  const [only, ...others] = credentials
  if (name === undefined && only !== undefined && others.length === 0) {
    trail.pass('credential', only.name)
    return only
  }
  if (name === undefined) {
    return trail.fail(
      'credential_not_in_purpose',
      'credential',
      `the request must choose one of ${policy.credentials.join(', ')}`,
    )
  }
  const chosen = credentials.find((credential) => credential.name === name)
  if (chosen === undefined) {
    return trail.fail('credential_not_in_purpose', 'credential', `${policy.id} covers ${policy.credentials.join(', ')}`)
  }
  trail.pass('credential', chosen.name)
  return chosen
}

/** Parameters and delivery must be ones that the credential takes. */
export function checkRequest({ request, credential, trail }: Case): Stop | undefined {
  const unknown = Object.keys(request.params).find((name) => !credential.params.has(name))
  if (unknown !== undefined) {
    const known = [...credential.params.keys()].join(', ')
    return trail.fail(
      'request_invalid',
      'params',
      `${credential.name} takes ${known === '' ? 'no parameters' : `only ${known}`}`,
    )
  }
  for (const [name, need] of credential.params) {
    if (need === 'required' && !Object.hasOwn(request.params, name)) {
      return trail.fail('request_invalid', `params.${name}`, `${credential.name} needs the parameter ${name}`)
    }
  }
  if (request.delivery !== undefined && !credential.delivery.includes(request.delivery)) {
    return trail.fail(
      'request_invalid',
      'delivery',
      `${credential.name} is delivered ${credential.delivery.join(' or ')} only`,
    )
  }
  return undefined
}

/** Whether the purpose asks for a task that the request does not name. */
export function checkTask({ footing, request, trail }: Case): Stop | undefined {
  if (footing.purpose.task?.required !== true) return undefined
  if (request.task === '') {
    return trail.fail('task_required', 'purpose.task', `${footing.purpose.policy.id} is for work within a task`)
  }
  trail.pass('purpose.task', 'the request is of a task')
  return undefined
}

/** The condition of the purpose; a claim that is missing makes it false. */
export function checkWhen(subject: Case): Stop | undefined {
  const { when } = subject.footing.purpose
  if (when === undefined) return undefined
  const verdict = when.evaluate(contextOf(subject))
  if ('undecided' in verdict) {
    const words = `${when.text}: ${verdict.undecided}`
    if (verdict.unknown !== true) return subject.trail.fail('condition_failed', 'purpose.when', words)
    subject.trail.pass('purpose.when', words)
    return undefined
  }
  if (!verdict.value) return subject.trail.fail('condition_failed', 'purpose.when', `${when.text}: false`)
  subject.trail.pass('purpose.when', when.text)
  return undefined
}

/** Every guardrail that denies is named, not the first only; one that cannot be decided denies. */
export function checkGuardrails(subject: Case): Stop | undefined {
  const { guardrails, trail } = subject
  let stop: Stop | undefined
  for (const { name, deny } of guardrails) {
    if (deny === undefined) {
      trail.pass(`guardrail ${name}`, 'denies nothing')
      continue
    }
    const denial = deny === true ? 'always' : denies(deny, subject)
    if (denial === undefined) trail.pass(`guardrail ${name}`, `not: ${deny === true ? '' : deny.text}`)
    else stop = trail.fail('guardrail_denied', `guardrail ${name}`, denial)
  }
  return stop
}

function denies(deny: Condition, subject: Case): string | undefined {
  const verdict = deny.evaluate(contextOf(subject))
  if ('undecided' in verdict) return verdict.unknown === true ? undefined : `${deny.text}: ${verdict.undecided}`
  return verdict.value ? deny.text : undefined
}

/**
 * A static secret needs an Exception or a guardrail that allows it. The loader refuses a secret that workloads share unless each
 * has an Exception for that; here that Exception must not have ended.
 */
export function checkStatic(subject: Case): Stop | undefined {
  const { footing, credential, nowMs, trail, leaning } = subject
  const stop = credential.isStatic ? checkAllowed(subject) : undefined
  if (stop !== undefined || !credential.isShared) return stop
  const shared = required(footing.purpose, 'shared_credential', nowMs, trail)
  if (shared !== undefined && 'stop' in shared) return shared
  if (shared !== undefined) leaning.push(shared)
  return undefined
}

function checkAllowed({ footing, credential, guardrails, nowMs, trail, leaning }: Case): Stop | undefined {
  const allowing = guardrails.find(({ policy }) => policy.allow_static === true)
  const exception = allowing === undefined ? required(footing.purpose, 'static_credential', nowMs, trail) : undefined
  if (allowing !== undefined) trail.pass('static_credential', `allowed by guardrail ${allowing.name}`)
  else if (exception === undefined) {
    return trail.fail(
      'guardrail_denied',
      'static_credential',
      `${credential.name} is static and no Exception allows it`,
    )
  } else if ('stop' in exception) return exception
  else leaning.push(exception)
  return undefined
}

/** Live credentials and credentials in the last minute, against the limits of the purpose and those of its tasks. */
export function checkLimits({ footing, counters, request, nowMs, trail }: Case): Stop | undefined {
  const { active, per_minute } = footing.purpose.policy.limits
  if (active !== undefined && counters.active >= active) {
    return {
      ...trail.fail('limit_reached', 'limits.active', `${counters.active} of ${active} are alive`),
      retryAfterSeconds: 30,
    }
  }
  if (per_minute !== undefined && counters.lastMinute >= per_minute) {
    const detail = `${counters.lastMinute} of ${per_minute} in the last minute`
    return { ...trail.fail('limit_reached', 'limits.per_minute', detail), retryAfterSeconds: 60 }
  }
  const { task } = footing.purpose
  if (task?.active !== undefined && counters.task !== undefined && counters.task.active >= task.active) {
    const detail = `${counters.task.active} of ${task.active} of the task are alive`
    return { ...trail.fail('limit_reached', 'task.active', detail), retryAfterSeconds: 30 }
  }
  if (task?.grants !== undefined && counters.task !== undefined && counters.task.grants >= task.grants) {
    const detail = `the task was given ${counters.task.grants} of ${task.grants}`
    // The task gets no more; what is left of its life is the longest anybody needs to wait for another.
    const leftMs = Math.max(1_000, (request.taskEndsAtMs ?? nowMs) - nowMs)
    return { ...trail.fail('limit_reached', 'task.grants', detail), retryAfterSeconds: Math.ceil(leftMs / 1000) }
  }
  return undefined
}

/** The guardrails whose every `applies` key fits. */
export function applicable(
  set: PolicySet,
  issuer: string,
  { workload, purpose }: Pick<Footing, 'workload' | 'purpose'>,
  credential: CompiledCredential,
): readonly CompiledGuardrail[] {
  const fits = (wanted: ReadonlySet<string> | undefined, has: string): boolean =>
    wanted === undefined || wanted.has(has)
  return set.guardrails.filter(
    ({ applies }) =>
      fits(applies.environment, purpose.policy.environment) &&
      fits(applies.sensitivity, credential.sensitivity) &&
      fits(applies.type, workload.policy.type) &&
      fits(applies.engine, credential.target.engine) &&
      fits(applies.issuer, issuer) &&
      fits(applies.credential, credential.name) &&
      fits(applies.workload, workload.name),
  )
}

/** What conditions see of this case. */
export function contextOf({ set, identity, request, footing, credential, nowMs, past }: Case): ConditionContext {
  const seen = new CelRequest()
  seen.reason = request.reason
  seen.ttl = BigInt(request.ttlSeconds ?? 0)
  seen.task = request.task
  seen.params = request.params
  seen.delivery = request.delivery ?? ''
  seen.ip = request.ip
  const context = {
    claims: identity.claims,
    issuer: set.byName.issuer.get(identity.issuer)?.cel ?? new CelIssuer(),
    workload: footing.workload.cel,
    purpose: footing.purpose.cel,
    credential: credential.cel,
    request: seen,
    now: new Date(nowMs),
  }
  return past === undefined ? context : forgetful(context, past)
}
