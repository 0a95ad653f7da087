import { formatDuration } from '../base/duration.ts'
import type { CompiledCredential, CompiledPurpose, CompiledWorkload, PolicySet } from './policy-set.ts'
import { applicable } from './rules.ts'

/** What one workload may have for one purpose, as far as it can be said without a token and a time. */
interface Reach {
  readonly workload: string
  readonly purpose: string
  readonly credential: string
  /** Greatest life in seconds. */
  readonly ttl: number
  readonly approval: string
  /** Everything else that decides, by name: compared as text. */
  readonly terms: Readonly<Record<string, string>>
}

/** One way in which two policy sets differ. */
export interface PolicyChange {
  /**
   * `allowed` and `denied`: a way to a credential appears or goes. `wider` and `narrower`: it stays, with other bounds.
   * `changed`: it stays, under terms that cannot be ordered (a condition, a match), so a person must look.
   */
  readonly change: 'allowed' | 'denied' | 'wider' | 'narrower' | 'changed'
  readonly workload: string
  readonly purpose: string
  readonly credential: string
  /** What changed (`ttl`, `approval`, `when`, …); absent when the whole way appears or goes. */
  readonly field?: string
  readonly before?: string
  readonly after?: string
}

/** Who gains and who loses what between two sets, in the order of names. Pure. */
export function diffPolicies(before: PolicySet, after: PolicySet): readonly PolicyChange[] {
  const old = reaches(before)
  const now = reaches(after)
  const keys = [...new Set([...old.keys(), ...now.keys()])].sort()
  return keys.flatMap((key) => {
    const was = old.get(key)
    const is = now.get(key)
    if (was === undefined && is !== undefined) return [{ change: 'allowed', ...who(is) }]
    if (is === undefined && was !== undefined) return [{ change: 'denied', ...who(was) }]
    return was === undefined || is === undefined ? [] : compare(was, is)
  })
}

const who = ({ workload, purpose, credential }: Reach) => ({ workload, purpose, credential })

const approvals = ['none', 'owner', 'two-person']

function compare(was: Reach, is: Reach): PolicyChange[] {
  const changes: PolicyChange[] = []
  if (was.ttl !== is.ttl) {
    const change = is.ttl > was.ttl ? 'wider' : 'narrower'
    changes.push({ change, ...who(is), field: 'ttl', before: formatDuration(was.ttl), after: formatDuration(is.ttl) })
  }
  if (was.approval !== is.approval) {
    const change = approvals.indexOf(is.approval) < approvals.indexOf(was.approval) ? 'wider' : 'narrower'
    changes.push({ change, ...who(is), field: 'approval', before: was.approval, after: is.approval })
  }
  for (const field of [...new Set([...Object.keys(was.terms), ...Object.keys(is.terms)])].sort()) {
    const [before = 'none', after = 'none'] = [was.terms[field], is.terms[field]]
    if (before !== after) changes.push({ change: 'changed', ...who(is), field, before, after })
  }
  return changes
}

function reaches(set: PolicySet): ReadonlyMap<string, Reach> {
  const all = new Map<string, Reach>()
  for (const workload of set.workloads) {
    // What can get nothing at all has no reach, whatever its purposes say.
    const owner = set.byName.team.get(workload.policy.owner)?.status
    if (workload.policy.status !== 'active' || owner === undefined || owner === 'retired') continue
    for (const purpose of workload.purposes.values()) {
      for (const credential of purpose.credentials) {
        const reach = reachOf(set, workload, purpose, credential)
        all.set(`${reach.workload}\n${reach.purpose}\n${reach.credential}`, reach)
      }
    }
  }
  return all
}

function reachOf(
  set: PolicySet,
  workload: CompiledWorkload,
  purpose: CompiledPurpose,
  credential: CompiledCredential,
): Reach {
  const guardrails = applicable(set, workload.policy.match.issuer, { workload, purpose }, credential)
  const levels = [purpose.policy.approval, ...guardrails.map(({ policy }) => policy.approval ?? 'none')]
  const ceilings = [purpose.maxSeconds, credential.maxSeconds, ...guardrails.map(({ maxSeconds }) => maxSeconds)]
  return {
    workload: workload.name,
    purpose: purpose.policy.id,
    credential: credential.name,
    ttl: Math.min(...ceilings.filter((ceiling) => ceiling !== undefined)),
    approval: approvals[Math.max(...levels.map((level) => approvals.indexOf(level)))] ?? 'two-person',
    terms: {
      ...termsOf(workload, purpose, credential),
      ...Object.fromEntries(
        guardrails.flatMap(({ name, policy }) =>
          policy.deny === undefined ? [] : [[`deny of ${name}`, String(policy.deny)]],
        ),
      ),
      ...Object.fromEntries(
        [...purpose.exceptions].map(([rule, { name, untilMs }]) => [
          `exception ${rule}`,
          `${name} until ${new Date(untilMs).toISOString()}`,
        ]),
      ),
    },
  }
}

function termsOf(
  { policy, rules }: CompiledWorkload,
  purpose: CompiledPurpose,
  credential: CompiledCredential,
): Record<string, string> {
  const { when, limits, until, renewable, environment, review } = purpose.policy
  return {
    match: `${policy.match.issuer} ${rules.map(({ label, pattern }) => `${label}=${JSON.stringify(pattern)}`).join(' ')}`,
    when: when ?? 'always',
    environment,
    owner: policy.owner,
    'signed off': policy.signoff === undefined ? 'no' : 'yes',
    'active at once': String(limits.active ?? 'any number'),
    'each minute': String(limits.per_minute ?? 'any number'),
    until: until ?? 'no end',
    renewable: String(renewable),
    'reviewed every': review?.every ?? 'never',
    target: `${credential.target.engine} ${credential.target.mount}/${credential.target.role} ${JSON.stringify(credential.target.params)}${credential.target.leased === undefined ? '' : ` ${JSON.stringify(credential.target.leased)}`}`,
    accepts: credential.accepts.join(' ') || 'nothing',
  }
}

const signs = { allowed: '+', denied: '-', wider: '>', narrower: '<', changed: '~' } as const

/** The changes as lines for a reviewer; empty when nothing changed. */
export function diffText(changes: readonly PolicyChange[]): string {
  return changes
    .map(({ change, workload, purpose, credential, field, before, after }) => {
      const where = `${signs[change]} ${change.padEnd(8)}  ${workload}/${purpose} ${credential}`
      return `${where}${field === undefined ? '' : `  ${field}: ${before} -> ${after}`}\n`
    })
    .join('')
}
