import type { GrantView } from '../contract/grant.ts'
import type { StoredEntryView } from '../contract/ledger.ts'
import { type Grant, grantOfIntent } from '../grants/grant.ts'
import { type Entry, entrySchema } from '../ledger/entry.ts'
import type { Asked } from '../policy/judge.ts'
import type { BrokerClient } from './http-client.ts'

/** What a broker holds alive, and what it was asked for lately, as far as the caller may see it. */
export interface LiveState {
  readonly grants: readonly Grant[]
  /** Live grants that were not looked at: their entries are not the caller's to read, or they are too many. */
  readonly unseen: number
  /** The newest first. */
  readonly requests: readonly Asked[]
}

/** Live grants that are looked at, at most. */
const mostGrants = 100_000
const grantsPage = 500
const entriesPage = 1000

/** Reads it page by page: a grant from its list, and what it was decided on from its intent in the ledger. */
export async function readLiveState(client: BrokerClient, newestRequests: number): Promise<LiveState> {
  const views: GrantView[] = []
  let more: string | null = null
  do {
    const filter: Record<string, string> = { status: 'live', limit: String(grantsPage), ...(more && { after: more }) }
    const { grants, next } = await client.grants(filter)
    views.push(...grants.filter(({ status }) => status !== 'ending' && status !== 'ended'))
    more = next
  } while (more !== null && views.length < mostGrants)
  const intents = await intentsOf(client, views)
  const grants = views.flatMap((view) => {
    const intent = intents.get(view.grant)
    return intent === undefined ? [] : [grantOf(view, intent)]
  })
  const kinds = ['grant.intent', 'request.denied'] as const
  const requests = await Promise.all(kinds.map((kind) => newest(client, kind, newestRequests)))
  return { grants, unseen: views.length - grants.length, requests: requests.flat().flatMap(askedIn) }
}

/** The intents of those grants. Skips ahead to the next one that is wanted, so that what lies between costs nothing. */
async function intentsOf(
  client: BrokerClient,
  views: readonly GrantView[],
): Promise<ReadonlyMap<string, StoredEntryView>> {
  const wanted = new Map(
    views.filter(({ ledger }) => ledger.intent >= 0).map((view) => [view.ledger.intent, view.grant]),
  )
  const indexes = [...wanted.keys()].sort((a, b) => a - b)
  const found = new Map<string, StoredEntryView>()
  for (let at = 0; at < indexes.length; ) {
    const first = indexes[at] ?? 0
    const { entries } = await client.entries({
      kind: 'grant.intent',
      limit: String(entriesPage),
      ...(first > 0 && { after: String(first - 1) }),
    })
    for (const stored of entries) {
      const grant = wanted.get(stored.index)
      if (grant !== undefined) found.set(grant, stored)
    }
    const last = Math.max(first, entries.at(-1)?.index ?? Number.MAX_SAFE_INTEGER)
    while (at < indexes.length && (indexes[at] ?? 0) <= last) at++
  }
  return found
}

function grantOf(view: GrantView, { entry, index }: StoredEntryView): Grant {
  const intent = known(entry)
  if (intent?.kind !== 'grant.intent') throw new Error(`entry ${index} is no intent`)
  const grant = grantOfIntent(intent, Date.parse(intent.time), index)
  return {
    ...grant,
    status: 'active',
    issuedAtMs: view.issued_at === null ? undefined : Date.parse(view.issued_at),
    expiresAtMs: view.expires_at === null ? undefined : Date.parse(view.expires_at),
  }
}

async function newest(client: BrokerClient, kind: string, limit: number): Promise<readonly StoredEntryView[]> {
  const found: StoredEntryView[] = []
  let before: number | null = null
  do {
    const size = Math.min(entriesPage, limit - found.length)
    if (size < 1) break
    const filter: Record<string, string> = { kind, order: 'desc', limit: String(size) }
    const { entries, next } = await client.entries({ ...filter, ...(before !== null && { before: String(before) }) })
    found.push(...entries)
    before = next
  } while (before !== null)
  return found
}

/** The request behind an entry, where it came from a workload that was known. */
function askedIn({ entry }: StoredEntryView): readonly Asked[] {
  const found = known(entry)
  if (
    found?.actor.type !== 'workload' ||
    found.purpose === undefined ||
    (found.grant !== undefined && found.kind === 'request.denied')
  )
    return []
  const { actor, purpose, credential } = found
  return [{ workload: actor.name, issuer: actor.issuer, subject: actor.subject, purpose, credential }]
}

/** An entry of a newer broker may say what this version does not know; it is left out. */
const known = (entry: unknown): Entry | undefined => entrySchema.safeParse(entry).data
