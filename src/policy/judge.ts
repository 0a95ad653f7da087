import type { Code } from '../base/codes.ts'
import { formatDuration } from '../base/duration.ts'
import type { Delivery } from '../contract/credential.ts'
import type { MintTarget } from '../engines/engine.ts'
import { approvalLevel } from './decide.ts'
import type { AccessRequest, Ceiling } from './decision.ts'
import { type Forgotten, keptIfGranted, neverKept } from './forgotten.ts'
import { type Life, lifeOf } from './life.ts'
import type { CompiledCredential, CompiledPurpose, CompiledWorkload, PolicySet } from './policy-set.ts'
import { applicable, type Case, checkGuardrails, checkStatic, checkWhen, chooseCredential } from './rules.ts'
import { createTrail, type Footing, footingOf, type Stop, type Trail } from './stand.ts'

/** What is still known of a grant once its token and its request are gone; a Grant holds all of it. */
export interface Held {
  readonly workload: string
  readonly issuer: string
  /** The `sub` of the token, which may have been cut; see `bounded`. */
  readonly subject: string
  readonly purpose: string
  readonly environment: string
  readonly credential: string
  readonly target: Pick<MintTarget, 'engine' | 'mount' | 'role' | 'paramsDigest'>
  readonly delivery: Delivery
  readonly reason: string
  readonly task: string | undefined
  readonly approval: string | undefined
  readonly ceilings: readonly Ceiling[]
  readonly openedAtMs: number
  readonly issuedAtMs: number | undefined
}

/** Whether policies still support a grant, and until when. `reason` names the rule and the document, for the record. */
export type Standing =
  | { readonly stands: true; readonly endsAtMs: number; readonly bound: string }
  | { readonly stands: false; readonly code: Code; readonly reason: string }

/**
 * Whether these policies would have given this grant, had they been in force when it was issued, and whether what they would have given
 * is not over by now (ms since the epoch). It is the decision itself, rule by rule, over what is kept of a grant. So, for one set, the
 * answer turns on time only where a ceiling runs out. What nobody can tell without the token (claims other than `sub`, and the
 * parameters, address and life in the request) counts for the grant: a renewal brings the token, and decides on it. Limits on numbers are
 * for new grants. Pure.
 */
export function judge(
  set: PolicySet,
  held: Held,
  nowMs: number,
  forgotten: readonly Forgotten[] = neverKept,
): Standing {
  const trail = createTrail()
  const life = lifeNow(set, held, forgotten, trail)
  if ('stop' in life) return { stands: false, code: life.stop, reason: failureOf(trail) }
  const endsAtMs = issuedAt(held) + life.ttlSeconds * 1000
  const bound = life.ceilings.find(({ seconds }) => seconds === life.ttlSeconds)?.name ?? 'purpose'
  if (endsAtMs > nowMs) return { stands: true, endsAtMs, bound }
  return { stands: false, code: 'condition_failed', reason: `${bound}: ${formatDuration(life.ttlSeconds)} is over` }
}

/** What the ledger keeps of a request that was refused, or that was granted and may have ended. */
export type Asked = Pick<Held, 'workload' | 'issuer' | 'subject' | 'purpose'> & {
  readonly credential: string | undefined
}

/** Whether policies would support such a request now, as far as that can be told; see `judge`. Leaves approvals out. */
export function foresee(set: PolicySet, asked: Asked, nowMs: number): Standing {
  const purpose = set.byName.workload.get(asked.workload)?.purposes.get(asked.purpose)
  const [only, another] = purpose?.credentials ?? []
  const credential = asked.credential ?? (another === undefined ? only?.name : undefined) ?? 'one of several'
  const target = set.byName.credential.get(credential)?.target ?? { engine: '', mount: '', role: '' }
  const held: Held = {
    ...asked,
    credential,
    target,
    environment: purpose?.policy.environment ?? '',
    delivery: set.byName.credential.get(credential)?.delivery[0] ?? 'plain',
    reason: '',
    task: undefined,
    approval: 'given',
    ceilings: [],
    openedAtMs: nowMs,
    issuedAtMs: undefined,
  }
  return judge(set, held, nowMs, [...neverKept, ...keptIfGranted])
}

/** What an open task rests on; a Task holds all of it. */
export type HeldTask = Pick<Held, 'workload' | 'purpose' | 'environment'>

/** Whether a task may go on: its purpose and whoever answers for it are still there. The reason why not, else `undefined`. */
export function taskGround(set: PolicySet, task: HeldTask, nowMs: number): string | undefined {
  const trail = createTrail()
  const footing = footingNow(set, task, trail, { environment: task.environment, nowMs })
  return 'stop' in footing ? failureOf(trail) : undefined
}

const issuedAt = (held: Held): number => held.issuedAtMs ?? held.openedAtMs

const failureOf = ({ reasons }: Trail): string => {
  const failed = reasons.find(({ ok }) => !ok)
  return failed === undefined ? 'the policies' : `${failed.rule}: ${failed.detail}`
}

function lifeNow(set: PolicySet, held: Held, past: readonly Forgotten[], trail: Trail): Life | Stop {
  const nowMs = issuedAt(held)
  const found = footingNow(set, held, trail, { environment: environmentOf(set, held), nowMs })
  if ('stop' in found) return found
  const { footing, leaning } = found
  const stranger = checkToken(set, footing.workload, held, trail)
  if (stranger !== undefined) return stranger
  const credential = checkCredential(footing.purpose, held, trail)
  if ('stop' in credential) return credential
  const here: Case = {
    set,
    identity: { issuer: held.issuer, subject: held.subject, claims: {}, environment: held.environment },
    request: requestOf(held),
    footing,
    credential,
    guardrails: applicable(set, held.issuer, footing, credential),
    counters: { active: 0, lastMinute: 0 },
    nowMs,
    trail,
    leaning,
    past,
  }
  const stop = checkGuardrails(here) ?? checkStatic(here) ?? checkWhen(here)
  if (stop !== undefined) return stop
  const level = approvalLevel(here)
  if (level !== 'none' && held.approval === undefined) {
    return trail.fail('approval_denied', 'approval', `${level} is asked for, and it was issued without`)
  }
  return lifeOf(here)
}

function footingNow(
  set: PolicySet,
  held: HeldTask,
  trail: Trail,
  { environment, nowMs }: { readonly environment: string | undefined; readonly nowMs: number },
): { readonly footing: Footing; readonly leaning: Case['leaning'] } | Stop {
  const workload = set.byName.workload.get(held.workload)
  if (workload === undefined) return trail.fail('workload_unknown', 'workload', `${held.workload} is gone`)
  const purpose = workload.purposes.get(held.purpose)
  if (workload.policy.status === 'active' && purpose === undefined) {
    return trail.fail('purpose_unknown', 'purpose', `${held.purpose} of ${held.workload} is gone`)
  }
  const { result } = footingOf(set, workload, { purposeId: held.purpose, environment }, nowMs, trail)
  if ('stop' in result) return result
  const wanted = result.purpose.policy.environment
  if (wanted === held.environment) return { footing: result, leaning: [...result.leaning] }
  return trail.fail(
    'condition_failed',
    'environment',
    `${held.purpose} is of ${wanted}, no more of ${held.environment}`,
  )
}

/**
 * The environment its token had, as far as the Issuer still says so. Where a claim named it, it was that of the purpose, unless the grant
 * rested on an Exception that is no more.
 */
function environmentOf(set: PolicySet, held: Held): string | undefined {
  const issuer = set.byName.issuer.get(held.issuer)
  // An Issuer that is gone is a reason of its own.
  if (issuer === undefined) return held.environment
  const source = issuer.policy.environment
  if (typeof source !== 'object') return source
  const exceptions = set.byName.workload.get(held.workload)?.purposes.get(held.purpose)?.exceptions.values() ?? []
  const standing = new Set([...exceptions].map(({ name }) => `exception ${name}`))
  const orphaned = held.ceilings.some(({ name }) => name.startsWith('exception ') && !standing.has(name))
  return !orphaned && Object.values(source.map).includes(held.environment) ? held.environment : undefined
}

/** The issuer, and the one claim that is kept. */
function checkToken(set: PolicySet, { name, policy, rules }: CompiledWorkload, held: Held, trail: Trail) {
  if (!set.byName.issuer.has(held.issuer)) return trail.fail('issuer_unknown', 'issuer', `${held.issuer} is gone`)
  if (policy.match.issuer !== held.issuer) {
    return trail.fail('workload_unknown', 'workload.match', `${name} takes tokens of ${policy.match.issuer} now`)
  }
  const wanted = rules.find(({ path }) => path.length === 1 && path[0] === 'sub')
  const cut = held.subject.endsWith('…')
  if (wanted === undefined || cut || wanted.test(held.subject)) return undefined
  return trail.fail('workload_unknown', 'workload.match', `${name} asks for another sub`)
}

/** The credential must still be of the purpose, reach the same role, and be delivered as it was. */
function checkCredential(purpose: CompiledPurpose, held: Held, trail: Trail): CompiledCredential | Stop {
  const credential = chooseCredential(purpose, held.credential, trail)
  if ('stop' in credential) return credential
  const { engine, mount, role } = credential.target
  const before = held.target
  if (engine !== before.engine || mount !== before.mount || role !== before.role) {
    const detail = `${credential.name} is ${mount}/${role} now, and was ${before.mount}/${before.role}`
    return trail.fail('credential_not_in_purpose', 'credential', detail)
  }
  if (before.paramsDigest !== undefined && before.paramsDigest !== credential.target.paramsDigest) {
    return trail.fail('credential_not_in_purpose', 'credential', `${credential.name} has other params now`)
  }
  if (credential.delivery.includes(held.delivery)) return credential
  return trail.fail('request_invalid', 'delivery', `${credential.name} is no more delivered ${held.delivery}`)
}

/** The request as a renewal would make it again. It asked for no longer than it got, so what was asked for bounds nothing here. */
const requestOf = (held: Held): AccessRequest => ({
  purpose: held.purpose,
  credential: held.credential,
  ttlSeconds: Number.MAX_SAFE_INTEGER,
  reason: held.reason,
  task: held.task ?? '',
  taskEndsAtMs: undefined,
  params: {},
  delivery: held.delivery,
  ip: '',
})
