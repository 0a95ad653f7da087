import { createPacer } from '../base/pacer.ts'
import type { PolicySet } from './policy-set.ts'

/**
 * Names of the workloads whose grants the change from one set to another can bear on: those whose own document differs, and those whose
 * owner, backup, credentials or exceptions do. `all` when an Issuer or a Guardrail differs, which can bear on any of them. Gives way to
 * other work.
 */
export async function bearing(before: PolicySet, after: PolicySet): Promise<ReadonlySet<string> | 'all'> {
  const pace = createPacer()
  if (!same(before.issuers, after.issuers) || !same(before.guardrails.map(policy), after.guardrails.map(policy))) {
    return 'all'
  }
  const teams = changed(before.teams, after.teams)
  // Of a Credential its document is not kept, and what is compiled of it says all of it.
  const credentials = changed(before.credentials, after.credentials, ({ params, cel: _, ...rest }) => [...params, rest])
  const excepted = changed(before.exceptions, after.exceptions)
  const touched = new Set<string>()
  for (const { name, workload } of [...before.exceptions, ...after.exceptions]) {
    if (excepted.has(name)) touched.add(workload)
  }
  for (const set of [before, after]) {
    for (const { name, policy } of set.workloads) {
      const answering = teams.has(policy.owner) || teams.has(policy.backup)
      const reaching = policy.purposes.some((purpose) => purpose.credentials.some((each) => credentials.has(each)))
      const other = (set === before ? after : before).byName.workload.get(name)?.policy
      if (answering || reaching || !same(policy, other)) touched.add(name)
      await pace()
    }
  }
  return touched
}

const policy = <P>({ policy }: { readonly policy: P }): P => policy

/** What the reader remembers of an unchanged file is the same object, so text is compared only where it may differ. */
const same = (one: unknown, other: unknown): boolean => one === other || JSON.stringify(one) === JSON.stringify(other)

/** Names of what differs between two lists, or is in one of them only. */
function changed<T extends { readonly name: string }>(
  before: readonly T[],
  after: readonly T[],
  essence: (item: T) => unknown = (item) => item,
): ReadonlySet<string> {
  const known = new Map(before.map((item) => [item.name, item]))
  const names = new Set(known.keys())
  for (const item of after) {
    const was = known.get(item.name)
    if (was !== undefined && (was === item || same(essence(was), essence(item)))) names.delete(item.name)
    else names.add(item.name)
  }
  return names
}
