import { isId } from '../base/ids.ts'
import { ok, type Result } from '../base/result.ts'
import type { EntryFilter, StoredEntryView } from '../contract/ledger.ts'
import type { Trace, TracedGrant } from '../contract/trace.ts'
import type { createQueries } from '../ledger/search/query.ts'
import type { TermName } from '../ledger/search/terms.ts'
import type { PolicySet } from '../policy/compile.ts'

type Query = ReturnType<typeof createQueries>
type Entry = StoredEntryView['entry']

/** Grants one answer tells of. */
const mostGrants = 20
/** Entries that are looked at for the grants they are about, and for what they say of one. */
const mostEntries = 200

/** From what was found to whoever answers for it; `owners` are the teams whose entries alone the caller may see. */
export type TraceBack = (q: string, owners: readonly string[] | undefined) => Promise<Result<Trace>>

/**
 * Traces over the record: exact, through its index, whatever the age of what was found. Business reason and contact are those of the
 * policies in force, because the record names owner and purpose and does not repeat them.
 */
export function createTraceBack(query: Query, policies: () => PolicySet): TraceBack {
  const entriesBy = async (
    name: TermName,
    value: string,
    owners: readonly string[] | undefined,
  ): Promise<readonly StoredEntryView[]> => {
    const filter: EntryFilter = { [name]: value, order: 'desc', limit: mostEntries }
    const found = await query(filter, owners)
    if (!found.ok) throw new Refused(found)
    return found.value.entries
  }

  async function trace(q: string, owners: readonly string[] | undefined): Promise<Trace> {
    const grants = new Set<string>()
    for (const [name, value] of readingsOf(q)) {
      for (const { entry } of await entriesBy(name, value, owners)) {
        for (const grant of grantsOf(entry)) grants.add(grant)
      }
    }
    const traced: TracedGrant[] = []
    for (const grant of [...grants].slice(0, mostGrants)) {
      const told = await tell(grant, owners)
      if (told !== undefined) traced.push(told)
    }
    return { q, grants: traced, more: grants.size > mostGrants }
  }

  async function tell(grant: string, owners: readonly string[] | undefined): Promise<TracedGrant | undefined> {
    const about = (await entriesBy('grant', grant, owners)).toReversed()
    const of = (kind: string): Entry | undefined => about.findLast(({ entry }) => entry.kind === kind)?.entry
    const [intent, issued, ended] = [of('grant.intent'), of('grant.issued'), of('grant.ended')]
    const base = intent ?? issued
    if (base === undefined) return undefined
    const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)
    const latest = about.findLast(({ entry }) => endings.has(entry.kind))?.entry
    const owner = String(base.owner)
    const set = policies()
    const workload = set.byName.workload.get(String(base.workload))
    return {
      grant: grant as TracedGrant['grant'],
      workload: String(base.workload),
      purpose: String(base.purpose),
      because: workload?.purposes.get(String(base.purpose))?.policy.because ?? null,
      environment: String(base.environment),
      owner,
      backup: workload?.policy.backup ?? null,
      contact: contactOf(set, owner),
      credential: String(base.credential),
      data: Array.isArray(base.data) ? base.data.map(String) : [],
      sensitivity: String(base.sensitivity),
      task: await taskOf(text(base.task), owners),
      reason: text(intent?.reason),
      approval: await approvalOf(text(base.approval), owners),
      exception: text(intent?.exception),
      asked_by: askedBy(base.actor),
      ids: (issued?.ids as TracedGrant['ids'] | undefined) ?? [],
      issued_at: text(issued?.time),
      expires_at: issued?.static === true ? null : text(latest?.expires),
      ended_at: text(ended?.time),
      outcome: text(ended?.outcome),
      revocable: issued === undefined ? null : issued.revocable === true,
      ledger: about.map(({ index }) => index),
    }
  }

  async function taskOf(task: string | null, owners: readonly string[] | undefined): Promise<TracedGrant['task']> {
    if (task === null) return null
    const opened = (await entriesBy('task', task, owners)).find(({ entry }) => entry.kind === 'task.opened')
    const intent = opened?.entry.intent
    return {
      task: task as NonNullable<TracedGrant['task']>['task'],
      intent: typeof intent === 'string' ? intent : null,
    }
  }

  async function approvalOf(
    approval: string | null,
    owners: readonly string[] | undefined,
  ): Promise<TracedGrant['approval']> {
    if (approval === null) return null
    const granted = (await entriesBy('approval', approval, owners)).filter(
      ({ entry }) => entry.kind === 'approval.granted',
    )
    const by = granted.flatMap(({ entry }) => {
      const person = askedBy(entry.actor)
      return person === null ? [] : [{ subject: person.subject, at: String(entry.time) }]
    })
    return { approval: approval as NonNullable<TracedGrant['approval']>['approval'], by }
  }

  return async (q, owners) => {
    try {
      return ok(await trace(q, owners))
    } catch (error) {
      if (error instanceof Refused) return error.refused
      throw error
    }
  }
}

/** A query that was turned away, on its way out of a trace that needs several. */
class Refused extends Error {
  readonly refused: Extract<Result<never>, { ok: false }>

  constructor(refused: Extract<Result<never>, { ok: false }>) {
    super('a query was refused')
    this.refused = refused
  }
}

const idTerms = [
  ['gr', 'grant'],
  ['tsk', 'task'],
  ['ap', 'approval'],
  ['cmp', 'composite'],
  ['rev', 'revocation'],
  ['rq', 'request'],
] as const
/** Entries that say when a secret ends; the last of a grant is the one that counts. */
const endings: ReadonlySet<unknown> = new Set(['grant.issued', 'grant.renewed', 'grant.shortened'])
const hexOf = /^[0-9a-f]{64}$/i
const thumbprint = /^[A-Za-z0-9_-]{43}$/
const serialText = /^(?:[0-9a-f]{2}:?){2,32}$/i

/** What a text can be in the record, by its form; the names of users and serials are tried for whatever has none. */
function readingsOf(q: string): readonly (readonly [TermName, string])[] {
  for (const [prefix, name] of idTerms) if (isId(prefix, q)) return [[name, q]]
  if (hexOf.test(q))
    return [
      ['id', q.toLowerCase()],
      ['token', q.toLowerCase()],
    ]
  const readings: (readonly [TermName, string])[] = [['id', q]]
  if (thumbprint.test(q)) readings.push(['jkt', q])
  // As OpenSSL and browsers print a serial number, and as Vault does.
  const serial = q.toLowerCase().replaceAll(':', '')
  const colons = serial.replaceAll(/(..)(?=.)/g, '$1:')
  if (serialText.test(q) && colons !== q) readings.push(['id', colons])
  return readings
}

/** The grants that an entry is about; the one of a set names all of them. */
const grantsOf = ({ grant, kind, parts }: Entry): readonly string[] => {
  if (kind === 'composite.issued' && Array.isArray(parts)) return parts.map(String)
  return typeof grant === 'string' ? [grant] : []
}

function askedBy(actor: unknown): TracedGrant['asked_by'] {
  if (typeof actor !== 'object' || actor === null || !('issuer' in actor) || !('subject' in actor)) return null
  return { issuer: String(actor.issuer), subject: String(actor.subject) }
}

function contactOf(set: PolicySet, owner: string): TracedGrant['contact'] {
  const contact = set.byName.team.get(owner)?.contact
  if (contact === undefined) return null
  return Object.fromEntries(
    Object.entries(contact).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
}
