import { type Clock, sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { newId, type RevocationId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { EndedGrant } from '../contract/grant.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Ender } from './end.ts'
import { endAll } from './end-all.ts'
import type { Grant } from './grant.ts'
import { createHolds, isTheirs, labelsOfMatch, type Matching, type Subject } from './holds.ts'
import { byBroker, type Provenance } from './provenance.ts'
import { keepEndedMs, type Registry } from './registry.ts'

/** What the ledger says of an order: enough to carry it out again after a crash. */
export interface OrderRecord extends Matching {
  readonly id: RevocationId
  readonly reason: string
  readonly orderedBy: Provenance
  readonly orderedAtMs: number
  /** How long issuance is held after everything has ended. */
  readonly holdSeconds: number
  /** Grants that matched when it was given. */
  readonly matched: number
  readonly completedAtMs: number | undefined
  /** Until when issuance is held; absent while the order is open, and where nothing is held after it. */
  readonly holdUntilMs: number | undefined
  readonly liftedAtMs: number | undefined
}

/** An order to revoke everything that matches. */
export interface Order extends OrderRecord {
  /** Every grant that matched. */
  readonly ids: readonly string[]
  /** Those of them that have not ended. */
  readonly waiting: ReadonlySet<string>
  /** How many of them have ended. */
  readonly done: number
  /** Whether each was tried once: what has not ended by then is tried again, in its time. */
  readonly tried: boolean
  /** How many of them came to what, as far as they have ended. */
  readonly outcomes: ReadonlyMap<string, number>
}

export type NewOrder = Matching & Pick<OrderRecord, 'reason' | 'holdSeconds'>

/**
 * Orders to revoke. Each is an entry of the ledger before anything is done about it, and stays open until every grant that matched has
 * ended: a start that finds it open carries it out again. While it is open, and while it holds, nothing that matches is issued.
 */
export interface Orders {
  /** Stops issuance, records the order, and begins to carry it out. Refuses `limit_reached`. */
  place(order: NewOrder, by: Provenance): Promise<Result<Order>>
  /** Resolves when every grant of the order has ended, or was tried, or after that long. */
  finished(order: Order, withinMs: number): Promise<void>
  get(id: string): Order | undefined
  /** Those that are open or hold, and those completed within the hour; the newest first. */
  list(): readonly Order[]
  /** The order that keeps such a grant from being issued or renewed. Never awaits. */
  heldBy(subject: Subject): Order | undefined
  isHolding(order: Order): boolean
  /** Lets issuance go on; the revocation goes on too. Refuses `state_conflict` when nothing is held. */
  lift(order: Order, reason: string | undefined, by: Provenance): Promise<Result<Order>>
  /** The live grants that match. */
  matching(match: Matching): Promise<readonly Grant[]>
  /** Puts a replayed order in place: from then on it holds. */
  restore(order: OrderRecord): Promise<void>
  /** Carries out again what a restart found open. */
  resume(): void
  /** Begins nothing more; resolves when what was begun has ended, or after a moment. */
  stop(): Promise<void>
}

/** Orders that are open or hold at once, and completed ones that are remembered: nobody needs as many. */
const mostOrders = 1_000
const mostGrants = 1_000_000
const stopWithinMs = 3_000

/** It is itself what is matched while it holds. */
interface Kept extends Matching {
  record: OrderRecord
  ids: string[]
  /** Grants that have not ended. */
  readonly waiting: Set<string>
  readonly outcomes: Map<string, number>
  /** Whether every grant that matched is known, so that an empty `waiting` means that all have ended. */
  counted: boolean
  tried: boolean
  completing: boolean
  readonly over: PromiseWithResolvers<void>
  readonly completed: PromiseWithResolvers<void>
}

interface Deps {
  readonly registry: Pick<Registry, 'find' | 'get'>
  readonly ledger: Pick<Ledger, 'append' | 'subscribe'>
  readonly ender: Pick<Ender, 'endOrPostpone'>
  readonly clock: Clock
  readonly log: Log
}

export function createOrders({ registry, ledger, ender, clock, log }: Deps): Orders {
  // All of it follows from the ledger, so it is kept here and not in the state that replicas share.
  const kept = new Map<string, Kept>()
  const holds = createHolds<Kept>()
  const running = new Set<Promise<void>>()
  let stopped = false

  const isOpen = ({ record }: Kept): boolean => record.completedAtMs === undefined
  const stands = ({ record }: Kept): boolean =>
    record.liftedAtMs === undefined && (record.completedAtMs === undefined || (record.holdUntilMs ?? 0) > clock.now())

  let following = false
  /** Whoever ends a grant, and whenever: its entry is what counts. */
  function follow(): void {
    if (following) return
    following = true
    ledger.subscribe(({ entry }) => {
      if (entry.kind !== 'grant.ended' && entry.kind !== 'grant.failed') return
      const { grant } = entry
      if (grant === undefined) return
      for (const order of kept.values()) {
        if (isOpen(order)) ended(order, grant, entry.kind === 'grant.ended' ? entry.outcome : 'failed')
      }
    })
  }

  function keep(record: OrderRecord): Kept {
    follow()
    const { by, name, teams } = record
    const order: Kept = {
      by,
      name,
      teams,
      record,
      ids: [],
      waiting: new Set(),
      outcomes: new Map(),
      counted: false,
      tried: false,
      completing: false,
      over: Promise.withResolvers(),
      completed: Promise.withResolvers(),
    }
    kept.set(record.id, order)
    holds.add(order)
    return order
  }

  function forget(order: Kept): void {
    kept.delete(order.record.id)
    holds.remove(order)
  }

  /** Lets go of what ended long ago. */
  function prune(): void {
    const since = clock.now() - keepEndedMs
    for (const order of kept.values()) {
      if (!isOpen(order) && !stands(order) && (order.record.completedAtMs ?? 0) < since) forget(order)
    }
  }

  async function matching(match: Matching): Promise<readonly Grant[]> {
    const found = await registry.find(labelsOfMatch(match), { limit: mostGrants })
    return match.teams === undefined ? found : found.filter(({ owner }) => isTheirs(match, owner))
  }

  function ended(order: Kept, grant: string, outcome: string): void {
    if (!order.waiting.delete(grant)) return
    order.outcomes.set(outcome, (order.outcomes.get(outcome) ?? 0) + 1)
    if (order.waiting.size === 0) void complete(order)
  }

  async function complete(order: Kept): Promise<void> {
    if (!order.counted || order.completing || stopped) return
    order.completing = true
    const { id, orderedAtMs, matched, holdSeconds, liftedAtMs } = order.record
    const holdUntilMs = holdSeconds === 0 || liftedAtMs !== undefined ? undefined : clock.now() + holdSeconds * 1000
    try {
      const { timeMs } = await ledger.append({
        ...aboutOrder(order.record),
        ...byBroker('revocation'),
        kind: 'revocation.completed',
        grants: matched,
        latency_ms: Math.max(0, clock.now() - orderedAtMs),
        expires: holdUntilMs === undefined ? undefined : timeText(holdUntilMs),
      })
      order.record = { ...order.record, completedAtMs: timeMs, holdUntilMs }
      order.completed.resolve()
      order.over.resolve()
      log.info({ revocation: id, grants: matched, ms: timeMs - orderedAtMs }, 'revocation_completed')
    } catch (error) {
      // It is open in the ledger, so the next start finds nothing left to do and says so.
      log.error({ revocation: id, error: messageOf(error) }, 'revocation_not_completed')
    }
  }

  function expect(order: Kept, grants: readonly Grant[]): void {
    order.ids = grants.map(({ id }) => id)
    for (const id of order.ids) order.waiting.add(id)
    order.counted = true
  }

  function carryOut(order: Kept, grants: readonly Grant[]): void {
    const { id, reason, orderedBy, orderedAtMs } = order.record
    const end = { cause: 'kill_switch', reason, by: orderedBy, revocation: id, sinceMs: orderedAtMs } as const
    const onAnswer = ({ grant, outcome }: EndedGrant): void => {
      // It may have ended between being found and being waited for.
      if (outcome !== 'pending' && outcome !== 'irrevocable') ended(order, grant, outcome)
    }
    const work = endAll(ender, grants, end, { stopped: () => stopped, onAnswer }).then(async () => {
      order.tried = !stopped
      if (order.waiting.size === 0) await complete(order)
      // Otherwise its end is being recorded.
      if (order.waiting.size > 0 || stopped) order.over.resolve()
    })
    const over: Promise<void> = work
      .catch((error: unknown) => log.error({ revocation: id, error: messageOf(error) }, 'revocation_failed'))
      .finally(() => running.delete(over))
    running.add(over)
  }

  async function carryOutAgain(order: Kept): Promise<void> {
    const { liftedAtMs = Number.POSITIVE_INFINITY, id } = order.record
    const live = (await matching(order.record)).filter(({ openedAtMs }) => openedAtMs < liftedAtMs)
    const before = await registry.find([`revocation=${id}`, 'ended'], { limit: mostGrants })
    expect(order, live)
    order.ids = [...before.map((grant) => grant.id), ...order.ids]
    for (const { outcome = 'failed' } of before) order.outcomes.set(outcome, (order.outcomes.get(outcome) ?? 0) + 1)
    log.info({ revocation: id, grants: live.length }, 'revocation_resumed')
    carryOut(order, live)
  }

  function view({ record, ids, waiting, outcomes, counted, tried }: Kept): Order {
    const done = record.completedAtMs !== undefined ? record.matched : counted ? record.matched - waiting.size : 0
    return {
      ...record,
      ids,
      waiting,
      outcomes,
      done: Math.max(0, done),
      tried: tried || record.completedAtMs !== undefined,
    }
  }
  const keptOf = (order: Order): Kept | undefined => kept.get(order.id)

  return {
    async place(wanted, by) {
      prune()
      if (kept.size >= mostOrders) {
        return refuse(
          'limit_reached',
          'revocations',
          `${mostOrders} orders are open, hold, or were carried out just now`,
        )
      }
      const orderedAtMs = clock.now()
      const id = newId('rev', orderedAtMs)
      const open = { completedAtMs: undefined, holdUntilMs: undefined, liftedAtMs: undefined }
      // From here on nothing that matches takes a place; what has one already is found.
      const order = keep({ ...wanted, id, orderedBy: by, orderedAtMs, matched: 0, ...open })
      try {
        const grants = await matching(wanted)
        order.record = { ...order.record, matched: grants.length }
        await ledger.append({
          ...aboutOrder(order.record),
          ...by,
          kind: 'revocation.ordered',
          match: wanted.by,
          issuer: wanted.by === 'issuer' ? wanted.name : undefined,
          teams: wanted.teams === undefined ? undefined : [...wanted.teams],
          reason: wanted.reason,
          hold: wanted.holdSeconds,
          grants: grants.length,
        })
        expect(order, grants)
        carryOut(order, grants)
      } catch (fault) {
        // What is not on record was never ordered.
        forget(order)
        throw fault
      }
      return ok(view(order))
    },
    async finished(order, withinMs) {
      const known = keptOf(order)
      if (known === undefined || !isOpen(known)) return
      await Promise.race([known.over.promise, sleep(clock, withinMs)])
    },
    get(id) {
      const order = kept.get(id)
      return order === undefined ? undefined : view(order)
    },
    list() {
      prune()
      return [...kept.values()].reverse().map(view)
    },
    heldBy(subject) {
      const order = holds.find(subject, stands)
      return order === undefined ? undefined : view(order)
    },
    isHolding: (order) => {
      const known = keptOf(order)
      return known !== undefined && stands(known)
    },
    async lift(order, reason, by) {
      const known = keptOf(order)
      if (known?.completing && isOpen(known)) await known.completed.promise
      if (known === undefined || !stands(known)) return refuse('state_conflict', 'revocation.hold', 'it holds nothing')
      const { record } = known
      // At once, so that an order that is completed meanwhile says of itself that it holds nothing.
      known.record = { ...record, liftedAtMs: clock.now() }
      try {
        await ledger.append({
          ...aboutOrder(record),
          ...by,
          kind: 'revocation.lifted',
          reason,
          expires: record.holdUntilMs === undefined ? undefined : timeText(record.holdUntilMs),
        })
      } catch (fault) {
        known.record = record
        throw fault
      }
      return ok(view(known))
    },
    matching,
    async restore(record) {
      const order = keep(record)
      if (record.completedAtMs === undefined) return
      order.counted = true
      const grants = await registry.find([`revocation=${record.id}`], { limit: mostGrants })
      order.ids = grants.map(({ id }) => id)
      for (const { outcome } of grants) {
        if (outcome !== undefined) order.outcomes.set(outcome, (order.outcomes.get(outcome) ?? 0) + 1)
      }
    },
    resume() {
      for (const order of kept.values()) {
        if (!isOpen(order)) continue
        const again = carryOutAgain(order).catch((error: unknown) =>
          log.error({ revocation: order.record.id, error: messageOf(error) }, 'revocation_failed'),
        )
        running.add(again)
        void again.finally(() => running.delete(again))
      }
    },
    async stop() {
      stopped = true
      await Promise.race([Promise.all(running), sleep(clock, stopWithinMs)])
    },
  }
}

/** The fields by which the entries of an order are found. What it matches stands in the field of that name. */
function aboutOrder({ id, by, name, teams }: OrderRecord) {
  const owner = by === 'owner' ? name : teams?.length === 1 ? teams[0] : undefined
  return {
    revocation: id,
    owner,
    workload: by === 'workload' ? name : undefined,
    purpose: by === 'purpose' ? name : undefined,
    credential: by === 'credential' ? name : undefined,
    task: by === 'task' ? name : undefined,
  }
}
