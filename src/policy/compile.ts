import { sha256Hex } from '../base/digest.ts'
import { parseDuration } from '../base/duration.ts'
import { createPacer } from '../base/pacer.ts'
import type { MintTarget } from '../engines/engine.ts'
import { CelCredential, CelIssuer, CelPurpose, CelWorkload, type Condition } from './condition.ts'
import { type CredentialPolicy, callerParamsOf, isShared, isStatic, mintsWith } from './credential.ts'
import type { ExceptionPolicy } from './exception.ts'
import { dateEndMs, dateStartMs } from './fields.ts'
import type { GuardrailPolicy } from './guardrail.ts'
import type { IssuerPolicy } from './issuer.ts'
import { claimRules } from './match.ts'
import type {
  CompiledCredential,
  CompiledException,
  CompiledGuardrail,
  CompiledPurpose,
  CompiledWorkload,
  PolicySet,
  PolicyWarning,
  TaskRule,
} from './policy-set.ts'
import { personKey } from './policy-set.ts'
import type { TeamPolicy } from './team.ts'
import type { PurposePolicy, WorkloadPolicy } from './workload.ts'
import { indexWorkloads } from './workload-index.ts'

export type { CompiledCredential, PolicySet } from './policy-set.ts'

type TaskPolicy = NonNullable<PurposePolicy['task']>

/** Everything the loader found, by kind, references checked and conditions compiled. */
export interface LinkedPolicies {
  readonly digest: string
  readonly issuers: readonly IssuerPolicy[]
  readonly teams: readonly TeamPolicy[]
  readonly credentials: readonly CredentialPolicy[]
  readonly workloads: readonly WorkloadPolicy[]
  readonly exceptions: readonly ExceptionPolicy[]
  readonly guardrails: readonly GuardrailPolicy[]
  readonly warnings: readonly PolicyWarning[]
  /** Compiled form of every condition, by its text. */
  readonly conditions: ReadonlyMap<string, Condition>
}

/** Builds the set, giving way to other work between items. `reviewedAtMs`: see `LoadOptions`. */
export async function compile(linked: LinkedPolicies, reviewedAtMs = 0): Promise<PolicySet> {
  const pace = createPacer()
  const byName = <T extends { readonly name: string }>(items: readonly T[]): ReadonlyMap<string, T> =>
    new Map(items.map((item) => [item.name, item]))
  const credentials = linked.credentials.map(compileCredential)
  const credential = byName(credentials)
  const exceptions = groupExceptions(linked.exceptions)
  const workloads: CompiledWorkload[] = []
  for (const policy of linked.workloads) {
    workloads.push(
      compileWorkload(policy, { credentials: credential, exceptions, conditions: linked.conditions, reviewedAtMs }),
    )
    await pace()
  }
  return {
    digest: linked.digest,
    issuers: linked.issuers,
    teams: linked.teams,
    credentials,
    workloads,
    exceptions: linked.exceptions,
    guardrails: linked.guardrails
      .map((policy) => compileGuardrail(policy, linked.conditions))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    warnings: linked.warnings,
    workloadCount: workloads.length,
    byName: {
      issuer: new Map(linked.issuers.map((policy) => [policy.name, { policy, cel: celIssuer(policy) }])),
      team: byName(linked.teams),
      credential,
      workload: byName(workloads),
    },
    index: await indexWorkloads(workloads, pace),
    people: peopleOf(linked.teams),
  }
}

/** Seconds of a duration that its schema accepted. */
export function seconds(text: string): number {
  // Zero is the closed answer for what the schema lets no file hold.
  return parseDuration(text) ?? 0
}

function compileCredential(policy: CredentialPolicy): CompiledCredential {
  const named: MintTarget = {
    credential: policy.name,
    engine: policy.engine,
    mount: policy.mount,
    ...mintsWith(policy),
  }
  const target = { ...named, ...digestOf(named.params) }
  const params = new Map(Object.entries(callerParamsOf(policy)))
  for (const name of policy.accepts) if (!params.has(name)) params.set(name, 'optional')
  return {
    name: policy.name,
    target,
    environment: policy.environment,
    sensitivity: policy.sensitivity,
    data: policy.data,
    exclusive: policy.exclusive,
    isStatic: isStatic(policy),
    isShared: isShared(policy),
    rotateEverySeconds: 'rotate_every' in policy ? seconds(policy.rotate_every) : undefined,
    accepts: policy.accepts,
    params,
    delivery: policy.delivery,
    maxSeconds: policy.ttl === undefined ? undefined : seconds(policy.ttl.max),
    cel: Object.assign(new CelCredential(), {
      name: policy.name,
      engine: policy.engine,
      mount: policy.mount,
      role: target.role,
      environment: policy.environment,
      sensitivity: policy.sensitivity,
      data: policy.data,
      static: isStatic(policy),
    }),
  }
}

/** Nobody keeps the fixed parameters of a grant; this tells whether they are still the same. */
function digestOf(params: MintTarget['params']): Pick<MintTarget, 'paramsDigest'> {
  const sorted = Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1))
  return sorted.length === 0 ? {} : { paramsDigest: sha256Hex(JSON.stringify(sorted)) }
}

type Exceptions = ReadonlyMap<string, ReadonlyMap<ExceptionPolicy['relaxes'], CompiledException>>

function groupExceptions(exceptions: readonly ExceptionPolicy[]): Exceptions {
  const groups = new Map<string, Map<ExceptionPolicy['relaxes'], CompiledException>>()
  for (const { name, workload, purpose, relaxes, until, ttl } of exceptions) {
    const key = `${workload}/${purpose}`
    const group = groups.get(key) ?? new Map<ExceptionPolicy['relaxes'], CompiledException>()
    const before = group.get(relaxes)
    const untilMs = dateEndMs(until)
    if (before === undefined || untilMs > before.untilMs || (untilMs === before.untilMs && name < before.name)) {
      group.set(relaxes, { name, untilMs, maxSeconds: ttl === undefined ? undefined : seconds(ttl.max) })
    }
    groups.set(key, group)
  }
  return groups
}

interface Surroundings {
  readonly credentials: ReadonlyMap<string, CompiledCredential>
  readonly exceptions: Exceptions
  readonly conditions: ReadonlyMap<string, Condition>
  readonly reviewedAtMs: number
}

function compileWorkload(policy: WorkloadPolicy, around: Surroundings): CompiledWorkload {
  const { name, type, system, owner, backup, custodian, status } = policy
  return {
    name,
    policy,
    rules: claimRules(policy.match.claims),
    purposes: new Map(policy.purposes.map((purpose) => [purpose.id, compilePurpose(name, purpose, around)])),
    cel: Object.assign(new CelWorkload(), { name, type, system, owner, backup, custodian, status }),
  }
}

function compilePurpose(
  workload: string,
  policy: PurposePolicy,
  { credentials, exceptions, conditions, reviewedAtMs }: Surroundings,
): CompiledPurpose {
  const { id, because, environment, approval, renewable, review, until } = policy
  const maxSeconds = seconds(policy.ttl.max)
  return {
    policy,
    maxSeconds,
    defaultSeconds: policy.ttl.default === undefined ? maxSeconds : seconds(policy.ttl.default),
    untilMs: until === undefined ? undefined : dateEndMs(until),
    review:
      review === undefined
        ? undefined
        : { everyMs: seconds(review.every) * 1000, lastMs: Math.max(dateStartMs(review.last) ?? 0, reviewedAtMs) },
    when: policy.when === undefined ? undefined : conditions.get(policy.when),
    task: policy.task === undefined ? undefined : compileTaskRule(policy.task),
    credentials: policy.credentials.flatMap((name) => credentials.get(name) ?? []),
    exceptions: exceptions.get(`${workload}/${id}`) ?? new Map(),
    cel: Object.assign(new CelPurpose(), { id, because, environment, approval, renewable }),
  }
}

function compileTaskRule({ required, derive, heartbeat, max, grants, active }: TaskPolicy): TaskRule {
  return {
    required,
    derive,
    heartbeatSeconds: heartbeat === undefined ? undefined : seconds(heartbeat),
    maxSeconds: max === undefined ? undefined : seconds(max),
    grants,
    active,
  }
}

function compileGuardrail(policy: GuardrailPolicy, conditions: ReadonlyMap<string, Condition>): CompiledGuardrail {
  const applies = Object.fromEntries(
    Object.entries(policy.applies).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, new Set<string>(typeof value === 'string' ? [value] : value)]],
    ),
  )
  return {
    name: policy.name,
    policy,
    applies,
    maxSeconds: policy.ttl === undefined ? undefined : seconds(policy.ttl.max),
    // A condition that did not compile never gets here; refusing always is the closed answer.
    deny: typeof policy.deny === 'string' ? (conditions.get(policy.deny) ?? true) : policy.deny,
  }
}

const celIssuer = ({ name, url, flavour }: IssuerPolicy): CelIssuer =>
  Object.assign(new CelIssuer(), { name, url, flavour })

function peopleOf(teams: readonly TeamPolicy[]): ReadonlyMap<string, readonly TeamPolicy[]> {
  const people = new Map<string, TeamPolicy[]>()
  for (const team of teams) {
    if (team.status === 'retired') continue
    for (const { issuer, subject } of team.members) {
      const key = personKey(issuer, subject)
      const teamsOf = people.get(key) ?? []
      if (!teamsOf.includes(team)) teamsOf.push(team)
      people.set(key, teamsOf)
    }
  }
  return people
}
