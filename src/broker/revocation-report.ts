import { ok, type Result, refuse } from '../base/result.ts'
import { createTally, type Tally } from '../base/tally.ts'
import { timeText } from '../contract/fields.ts'
import type { RevocationReport, RevocationReportFilter } from '../contract/report.ts'
import { isOperator, readableOwners } from '../grants/authority.ts'
import type { Grant } from '../grants/grant.ts'
import { grantCounts } from '../grants/registry.ts'
import type { Entry } from '../ledger/entry.ts'
import { firstNotBefore } from '../ledger/search/query.ts'
import { createSearch } from '../ledger/search/search.ts'
import type { Condition } from '../ledger/search/terms.ts'
import type { Entered } from './desk.ts'
import type { Stages } from './stages.ts'

const usualWindowMs = 30 * 86_400_000
const pageSize = 1_000
const mostGrants = 1_000_000
/** Engines times causes is far less; an entry of a forged ledger must not make it more. */
const mostRows = 1_000

type Reporter = (entered: Entered, filter: RevocationReportFilter) => Promise<Result<RevocationReport>>

/**
 * How fast secrets ended, by engine and cause, from the entries of a time: all of them for auditors and operators, those of their
 * teams for owners. One at a time, because it reads the record; its memory does not grow with it. Refuses `draining` to one more.
 */
export function createRevocationReport({ ledger, entryIndex, registry, clock }: Stages): Reporter {
  const search = createSearch(ledger, entryIndex)
  let reading = false

  async function rowsOf(conditions: readonly Condition[], fromTime: string, toTime: string): Promise<Iterable<Row>> {
    const { size } = ledger.head()
    const to = await firstNotBefore(ledger, toTime, size)
    const rows = new Map<string, Row>()
    let from: number | null = await firstNotBefore(ledger, fromTime, size)
    while (from !== null && from < to) {
      const page: Awaited<ReturnType<typeof search>> = await search({
        conditions,
        from,
        to,
        descending: false,
        limit: pageSize,
      })
      for (const { entry } of page.entries) if (entry.kind === 'grant.ended') count(rows, entry)
      from = page.next === null ? null : page.next + 1
    }
    return rows.values()
  }

  async function counted(label: string, owners: readonly string[] | undefined): Promise<number> {
    const found = await registry.find([label], { limit: mostGrants })
    return owners === undefined ? found.length : found.filter(({ owner }: Grant) => owners.includes(owner)).length
  }

  return async ({ party }, filter) => {
    if (party.person === undefined)
      return refuse('role_required', 'reports', 'needs an auditor, an operator or an owner')
    if (reading) {
      return refuse('draining', 'reports', 'another report is being made', 5)
    }
    reading = true
    try {
      const owners = isOperator(party) ? undefined : readableOwners(party.person)
      const to = filter.to ?? timeText(clock.now())
      const from = filter.from ?? timeText(Date.parse(to) - usualWindowMs)
      const theirs = owners === undefined ? [] : [{ name: 'owner' as const, anyOf: owners }]
      const rows = await rowsOf([{ name: 'kind', anyOf: ['grant.ended'] }, ...theirs], from, to)
      return ok({
        from,
        to,
        rows: [...rows].map(shown).sort((a, b) => compare(a.engine, b.engine) || compare(a.cause, b.cause)),
        now: {
          unrevoked: await counted(grantCounts.unrevoked, owners),
          irrevocable: await counted(grantCounts.irrevocable, owners),
          expires_only: await counted(grantCounts.expiresOnly, owners),
        },
      })
    } finally {
      reading = false
    }
  }
}

interface Row {
  readonly engine: string
  readonly cause: string
  readonly latencies: Tally
  ended: number
  retried: number
  expiresOnly: number
}

function count(rows: Map<string, Row>, entry: Extract<Entry, { kind: 'grant.ended' }>): void {
  // The end of an orphan is nobody's decision, so it has no latency.
  if (entry.grant === undefined) return
  const { engine = 'unknown', cause, outcome, attempts = 0, latency_ms: latencyMs } = entry
  const key = JSON.stringify([engine, cause])
  const row = rows.get(key) ?? { engine, cause, latencies: createTally(), ended: 0, retried: 0, expiresOnly: 0 }
  if (rows.size < mostRows) rows.set(key, row)
  row.ended++
  if (attempts > 1) row.retried++
  if (outcome === 'expires_only') row.expiresOnly++
  if (outcome === 'revoked' && latencyMs !== undefined) row.latencies.add(latencyMs)
}

function shown({ engine, cause, latencies, ended, retried, expiresOnly }: Row): RevocationReport['rows'][number] {
  const at = (share: number): number | null => (latencies.count === 0 ? null : latencies.quantile(share))
  return {
    engine,
    cause,
    ended,
    revoked: latencies.count,
    p50_ms: at(0.5),
    p95_ms: at(0.95),
    p99_ms: at(0.99),
    max_ms: latencies.count === 0 ? null : latencies.max,
    retried,
    expires_only: expiresOnly,
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
