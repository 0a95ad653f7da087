import { breadthProblems } from './breadth/breadth.ts'
import { seconds } from './compile.ts'
import { type CredentialPolicy, isShared, isStatic } from './credential.ts'
import { productionEnvironments } from './fields.ts'
import type { Linker } from './link.ts'
import { referToTokens } from './link-others.ts'
import { claimRules } from './match.ts'
import type { PurposePolicy, WorkloadPolicy } from './workload.ts'

/** What a Workload document must keep to beyond its schema. */
export function checkWorkload(workload: WorkloadPolicy, linker: Linker): void {
  for (const role of ['owner', 'backup', 'custodian'] as const) linker.refer('Team', workload[role], [role])
  if (workload.owner === workload.backup) {
    linker.error(['backup'], 'the owner is its own backup', 'name another team as backup')
  }
  if (linker.registry.Team.get(workload.owner)?.document.status === 'retired' && workload.status === 'active') {
    linker.warn(
      ['owner'],
      `\`${workload.owner}\` is retired, so this workload gets nothing`,
      'name an active team as owner',
    )
  }
  checkMatch(workload, linker)
  if (workload.status === 'active' && reachesProduction(workload) && workload.signoff === undefined) {
    linker.warn(['purposes'], 'without a sign-off the production purposes get nothing', 'add signoff: { by: …, on: … }')
  }
  if (workload.signoff !== undefined) checkPerson(workload.signoff.by, ['signoff', 'by'], linker)
  const ids = new Set<string>()
  workload.purposes.forEach((purpose, at) => {
    if (ids.has(purpose.id)) {
      linker.error(['purposes', at, 'id'], `there is another purpose \`${purpose.id}\``, 'give one of them another id')
    }
    ids.add(purpose.id)
    checkPurpose(workload, purpose, ['purposes', at], linker)
  })
}

const reachesProduction = ({ purposes }: WorkloadPolicy): boolean =>
  purposes.some(({ environment }) => productionEnvironments.has(environment))

function checkMatch(workload: WorkloadPolicy, linker: Linker): void {
  const { issuer, claims } = workload.match
  const rules = claimRules(claims)
  const known = referToTokens(issuer, ['match', 'issuer'], linker)
    ? linker.registry.Issuer.get(issuer)?.document
    : undefined
  if (known === undefined) return
  for (const { severity, path, message, fix } of breadthProblems({
    rules,
    issuer: known,
    production: reachesProduction(workload),
  })) {
    const at = ['match', 'claims', ...(path ?? [])]
    if (severity === 'error') linker.error(at, message, fix)
    else linker.warn(at, message, fix)
  }
  const same = `match ${issuer} ${JSON.stringify(rules.map(({ label, pattern }) => [label, pattern]))}`
  if (workload.status !== 'retired' && !linker.first(same)) {
    linker.error(
      ['match'],
      'another workload has the same match, so every token of it is refused',
      'tell the two apart',
    )
  }
  if (known.environment === undefined) {
    linker.warn(
      ['match', 'issuer'],
      `\`${issuer}\` gives its tokens no environment, so they open no purpose`,
      'add `environment` to the Issuer',
    )
  }
}

function checkPurpose(
  workload: WorkloadPolicy,
  purpose: PurposePolicy,
  at: readonly (string | number)[],
  linker: Linker,
): void {
  const { ttl, when, review, delegation } = purpose
  if (ttl.default !== undefined && seconds(ttl.default) > seconds(ttl.max)) {
    linker.error([...at, 'ttl', 'default'], 'the default life is longer than the greatest', 'lower it, or raise `max`')
  }
  if (when !== undefined) linker.condition(when, [...at, 'when'])
  const { heartbeat, max } = purpose.task ?? {}
  if (heartbeat !== undefined && max !== undefined && seconds(heartbeat) > seconds(max)) {
    linker.error([...at, 'task', 'heartbeat'], 'no task lives long enough to miss it', 'lower it, or raise `max`')
  }
  if (review !== undefined) checkPerson(review.by, [...at, 'review', 'by'], linker)
  else if (productionEnvironments.has(purpose.environment)) {
    linker.warn(
      at,
      `nobody reviews \`${purpose.id}\`, which reaches production`,
      'add review: { every: 90d, last: …, by: … }',
    )
  }
  if (delegation !== undefined && workload.type !== 'agent') {
    linker.error([...at, 'delegation'], 'only agents pass their purposes on', 'remove it')
  }
  const names = new Set<string>()
  purpose.credentials.forEach((name, index) => {
    const here = [...at, 'credentials', index]
    if (names.has(name)) linker.error(here, `\`${name}\` is named twice`, 'remove one of them')
    names.add(name)
    checkCredentialOf(workload, purpose, name, here, linker)
  })
}

function checkCredentialOf(
  workload: WorkloadPolicy,
  purpose: PurposePolicy,
  name: string,
  here: readonly (string | number)[],
  linker: Linker,
): void {
  if (!linker.refer('Credential', name, here)) return
  const credential = linker.registry.Credential.get(name)?.document
  if (credential === undefined) return
  if (credential.environment !== purpose.environment) {
    linker.error(
      here,
      `\`${name}\` is of ${credential.environment}, the purpose of ${purpose.environment}`,
      'name a credential of the same environment',
    )
  }
  if (isShared(credential)) checkSharedUse(workload, purpose, credential, here, linker)
}

/** A secret that everyone who gets it shares, and of those the one that nothing ends. */
function checkSharedUse(
  workload: WorkloadPolicy,
  purpose: PurposePolicy,
  credential: CredentialPolicy,
  here: readonly (string | number)[],
  linker: Linker,
): void {
  const { name } = credential
  // Whether an Exception still holds depends on the day, so decide() refuses and the file is only warned about.
  const guarded = [...linker.registry.Guardrail.values()].some(({ document }) => document.allow_static === true)
  if (isStatic(credential) && !guarded && !linker.excepted('static_credential', workload.name, purpose.id)) {
    linker.warn(
      here,
      `\`${name}\` is static and nothing allows that here`,
      'add an Exception that relaxes static_credential',
    )
  }
  // An error, not a refusal: were it up to decide(), removing one user would widen what the other may do.
  if (linker.users(name) > 1 && !linker.excepted('shared_credential', workload.name, purpose.id)) {
    linker.error(
      here,
      `everyone gets the same secret of \`${name}\`, and ${linker.users(name)} workloads use it`,
      'give each its own secret, or add an Exception that relaxes shared_credential',
    )
  }
}

function checkPerson(person: string, path: readonly (string | number)[], linker: Linker): void {
  if (!linker.knows(person)) linker.warn(path, 'no team lists this person', 'write the `subject` of a team member')
}
