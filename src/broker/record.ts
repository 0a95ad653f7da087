import { BrokerFault } from '../base/errors.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type {
  Archived,
  ArchiveRequest,
  EntryFilter,
  EntryList,
  EventFilter,
  StoredEntryView,
} from '../contract/ledger.ts'
import type { Trace } from '../contract/trace.ts'
import { isOperator, mayHaveReceipt, mayReadEntry, mayReadLog, readableOwners } from '../grants/authority.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import { awaitReceipt } from '../ledger/search/await-receipt.ts'
import { createFeeds } from '../ledger/search/feed.ts'
import { conditionsOf, createQueries, entryView, firstNotBefore } from '../ledger/search/query.ts'
import { createSearch } from '../ledger/search/search.ts'
import { personOf } from '../policy/parties.ts'
import type { Caller } from './caller.ts'
import type { Entered } from './desk.ts'
import type { Stages } from './stages.ts'
import { createTraceBack } from './tracing.ts'

/** Entries as they are recorded, until `ended` is aborted or the token of the caller expires. */
export type EntryFeed = (ended: AbortSignal) => AsyncIterable<readonly StoredEntry[]>

/** Reading the record: auditors all of it, owners what is theirs. */
export interface RecordVerbs {
  entries(caller: Caller, filter: EntryFilter): Promise<Result<EntryList>>
  entry(caller: Caller, index: number): Promise<Result<StoredEntryView>>
  /**
   * The offline proof (C2SP tlog-proof) that an entry is on record; also for the workload whose grant it is about.
   * @throws BrokerFault `receipt_pending` when no checkpoint covers the entry within a second
   */
  receipt(caller: Caller, index: number): Promise<Result<string>>
  /** The token is verified once, now; what the caller may see is decided anew for each entry. */
  events(caller: Caller, filter: EventFilter): Promise<Result<EntryFeed>>
  /** From a public identifier, a digest or an id to every grant it leads to, and whoever answers for each. */
  trace(caller: Caller, q: string): Promise<Result<Trace>>
  /** Moves old entries to the archive; for operators. */
  archive(caller: Caller, request: ArchiveRequest): Promise<Result<Archived>>
  /** Lets pass who may fetch the log as it is published: checkpoints and tiles hold every entry. */
  readLog(caller: Caller): Promise<Result<void>>
}

type Enter = <T>(caller: Caller, verb: (entered: Entered) => Promise<Result<T>>) => Promise<Result<T>>

export function createRecordVerbs(
  { ledger, entryIndex, policies, signals, clock }: Stages,
  entered: Enter,
): RecordVerbs {
  const search = createSearch(ledger, entryIndex)
  const query = createQueries(ledger, search)
  const follow = createFeeds(ledger, search)
  const traceBack = createTraceBack(query, policies.current)
  const noEntry = refuse('not_found', 'entry', 'no such entry')

  /** Where the first entry stands that a feed looks at. */
  async function startOf({ after, from }: EventFilter): Promise<number> {
    const { size } = ledger.head()
    if (after === undefined && from === undefined) return size
    const byTime = from === undefined ? 0 : await firstNotBefore(ledger, from, size)
    return Math.max(byTime, (after ?? -1) + 1)
  }

  return {
    entries: (caller, filter) =>
      entered(caller, async ({ party: { person } }) =>
        person === undefined ? notAReader : query(filter, readableOwners(person)),
      ),
    entry: (caller, at) =>
      entered(caller, async ({ party }) => {
        const stored = await ledger.get(at)
        return stored !== undefined && mayReadEntry(party, stored.entry.owner) ? ok(entryView(stored)) : noEntry
      }),
    receipt: (caller, at) =>
      entered(caller, async ({ party }) => {
        const stored = await ledger.get(at)
        if (stored === undefined || !mayHaveReceipt(party, stored.entry)) return noEntry
        const receipt = await awaitReceipt(ledger, at)
        if (receipt === undefined) throw new BrokerFault('receipt_pending', `no checkpoint covers entry ${at} in time`)
        return ok(receipt)
      }),
    events: (caller, filter) =>
      entered(caller, async ({ identity, party }) => {
        if (party.person === undefined) return notAReader
        if (filter.after !== undefined && filter.after >= ledger.head().size) {
          return refuse('request_invalid', 'after: no such entry is on record', 'after')
        }
        const from = await startOf(filter)
        const conditions = () => {
          const person = personOf(policies.current(), identity)
          const left = signals.hasLeft(`${identity.issuer}/${identity.subject}`)
          return person === undefined || left ? undefined : conditionsOf(filter, readableOwners(person))
        }
        return ok((ended) => {
          const expired = new AbortController()
          const timer = clock.after(identity.expiresAtMs - clock.now(), () => expired.abort())
          ended.addEventListener('abort', () => timer.cancel())
          return follow({ from, conditions, ended: AbortSignal.any([ended, expired.signal]) })
        })
      }),
    trace: (caller, q) =>
      entered(caller, async ({ party: { person } }) =>
        person === undefined ? notAReader : traceBack(q, readableOwners(person)),
      ),
    archive: (caller, { before }) =>
      entered(caller, async ({ party, by }) => {
        if (!isOperator(party)) return refuse('role_required', 'ledger.archive', 'needs an operator')
        const index = typeof before === 'number' ? before : await firstNotBefore(ledger, before, ledger.head().size)
        return ok(await ledger.archive({ before: index, actor: by.actor }))
      }),
    readLog: (caller) =>
      entered(caller, async ({ party }) =>
        mayReadLog(party) ? ok(undefined) : refuse('role_required', 'log.read', 'needs an auditor'),
      ),
  }
}

const notAReader = refuse('role_required', 'ledger.read', 'needs an auditor or an owner')
