import type { Clock } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import type { GrantId } from '../base/ids.ts'
import { createTurns } from '../base/in-turn.ts'
import { createPacer } from '../base/pacer.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { Ledger, Position } from '../ledger/ledger.ts'
import type { Access, Counters } from '../policy/decision.ts'
import type { Indexing, LabelLimit, State } from '../state/state.ts'
import { advance, type Grant, type GrantEntry, mayFollow, worksUntil } from './grant.ts'

/** What has ended answers queries for this long; after that only the ledger speaks of it. */
export const keepEndedMs = 3600_000
/**
 * A mint that has not come back by then is lost and left to reconciling. Longer than Vault's own limit on a request
 * (90 s), so that a lease can no longer appear after the leases were listed.
 */
export const mintLostAfterMs = 120_000

/** Grants of one workload that are listed at once; of more, all grants are looked through instead. */
const mostListed = 2_000

const rateWindowMs = 60_000
const rateKey = (workload: string, purpose: string): string => `rate=${workload}/${purpose}`

/** Grants on top of State: where they are found, and the one way they change. */
export interface Registry {
  /**
   * Takes the places of the grants of one request under the limits of its purpose, all of them or none, unless `admit` refuses. Nothing
   * comes between that question and the places: an order that is given before is heeded, and one that is given after finds the grants.
   * Refuses `limit_reached`.
   */
  open(
    grants: readonly [Grant, ...Grant[]],
    limits: Access['limits'],
    admit?: () => Result<void>,
  ): Promise<Result<void>>
  get(id: string): Promise<Grant | undefined>
  /** Applies `change` to the present grant, again if somebody else was first; `undefined` from `change` leaves it. */
  update(id: GrantId, change: (grant: Grant) => Grant | undefined): Promise<Grant | undefined>
  /**
   * Records the entry, then moves the grant; one entry of a grant at a time, so that the ledger never holds an order of events
   * that could not have been. @throws BrokerFault `state_conflict` when the grant, as it is by then, may not take the entry
   */
  record(grant: Grant, entry: GrantEntry): Promise<{ grant: Grant; position: Position }>
  find(labels: readonly string[], page: { after?: string; limit: number }): Promise<readonly Grant[]>
  /** The live grants of one workload, or all, one by one, each as it is by then. However many there are, no step takes long. */
  eachLive(workload?: string): AsyncIterable<Grant>
  /** Every grant with those labels, one after the other; other work runs in between, however many they are. */
  walk(labels: readonly string[]): AsyncIterable<Grant>
  /** Live grants of one workload and purpose, and how many were opened in the last minute. */
  counters(workload: string, purpose: string): Promise<Counters>
  /** Live grants whose lease dies with that generation of the broker's Vault token. */
  hangingOn(generation: number): Promise<number>
  /** The highest generation that any grant has named, from the record or since. */
  highestGeneration(): number
  /** Live grants of a task. */
  liveOfTask(task: string): Promise<number>
  /** Live grants of an Idempotency-Key: those of one request or none. */
  liveOfKey(key: string): Promise<number>
  due(limit: number): Promise<readonly Grant[]>
  /** Puts a replayed grant in place. */
  restore(grant: Grant): Promise<void>
}

const liveOfTask = (task: string): string => `live-task=${task}`
const liveOfKey = (key: string): string => `live-key=${key}`

/** Labels a grant is found by; `live` ones go when it ends. */
function labelsOf(grant: Grant, nowMs: number): readonly string[] {
  const labels = [
    `workload=${grant.workload}`,
    `purpose=${grant.workload}/${grant.purpose}`,
    `purpose=${grant.purpose}`,
    `owner=${grant.owner}`,
    `credential=${grant.credential}`,
    `issuer=${grant.issuer}`,
  ]
  if (grant.task !== undefined) labels.push(`task=${grant.task}`)
  const order = grant.revocation === undefined ? [] : [`revocation=${grant.revocation}`]
  if (grant.retry !== undefined) labels.push(`key=${grant.retry.key}`)
  const wrapped = grant.delivery === 'wrapped' ? [`wrapped=${targetLabel(grant.target)}`] : []
  if (grant.status === 'ended') {
    // Vault may still be at the lease behind an ended one.
    labels.push('ended', ...wrapped, ...order)
    if (stillWorks(grant, nowMs)) labels.push(grantCounts.expiresOnly)
    return labels
  }
  // What changes within a life comes last, so that the store need not look at the rest again.
  labels.push('live', `live=${grant.workload}/${grant.purpose}`)
  if (grant.task !== undefined) labels.push(liveOfTask(grant.task))
  if (grant.retry !== undefined) labels.push(liveOfKey(grant.retry.key))
  if (grant.lease !== undefined) labels.push(`lease=${grant.lease.hash}`)
  if (grant.generation !== undefined) labels.push(`generation=${grant.generation}`)
  // Also when it is to end: Vault may hold its lease before anybody knows it.
  const unborn = (grant.status === 'minting' || grant.status === 'ending') && grant.ledger.issued === undefined
  if (unborn) labels.push(`minting=${targetLabel(grant.target)}`)
  labels.push(...wrapped, ...order)
  if (grant.status === 'ending' && grant.attempts > 0) labels.push(grantCounts.unrevoked)
  if (grant.irrevocable) labels.push(grantCounts.irrevocable)
  return labels
}

/** Labels of grants whose number operators watch. */
export const grantCounts = {
  /** Vault was asked to revoke it, and has not. */
  unrevoked: 'unrevoked',
  /** The same, so often that it is a finding. */
  irrevocable: 'irrevocable',
  /** Ended, and its secret works on until it expires. */
  expiresOnly: 'expires_only',
} as const

/** Names a mount and role, as leases are listed by. */
export const targetLabel = (target: { mount: string; role: string }): string => `${target.mount}/${target.role}`

/** Whether the secret of an ended grant has not expired yet. */
function stillWorks(grant: Grant, nowMs: number): boolean {
  const works = worksUntil(grant)
  return typeof works === 'number' && works > nowMs
}

/** Until when an ended grant is remembered: for a while, and for as long as its secret works. */
export function forgetAtMsOf(grant: Grant): number {
  const endedAtMs = grant.endedAtMs ?? 0
  const works = worksUntil(grant)
  return Math.max(endedAtMs + keepEndedMs, typeof works === 'number' ? works : 0)
}

function indexingOf(grant: Grant, nowMs: number): Indexing {
  const labels = labelsOf(grant, nowMs)
  switch (grant.status) {
    case 'pending':
    case 'minting':
      return { labels, dueAtMs: grant.retryAtMs ?? grant.openedAtMs + mintLostAfterMs }
    case 'active':
      return grant.expiresAtMs === undefined ? { labels } : { labels, dueAtMs: grant.expiresAtMs }
    case 'ending':
      return grant.retryAtMs === undefined ? { labels } : { labels, dueAtMs: grant.retryAtMs }
    case 'ended': {
      const forgetAtMs = forgetAtMsOf(grant)
      // Somebody must look then, for the label to go.
      return stillWorks(grant, nowMs) ? { labels, forgetAtMs, dueAtMs: grant.expiresAtMs ?? 0 } : { labels, forgetAtMs }
    }
  }
}

export function createRegistry({ state, ledger, clock }: { state: State; ledger: Ledger; clock: Clock }): Registry {
  const get = async (id: string): Promise<Grant | undefined> =>
    (await state.get('grant', id))?.value as Grant | undefined

  let highestGeneration = 0
  const seen = (grant: Grant): Grant => {
    highestGeneration = Math.max(highestGeneration, grant.generation ?? 0)
    return grant
  }

  const update: Registry['update'] = async (id, change) => {
    // Each loss of the race means that somebody else made progress, so this ends.
    for (;;) {
      const stored = await state.get('grant', id)
      if (stored === undefined) return undefined
      const next = change(stored.value as Grant)
      if (next === undefined) return stored.value as Grant
      if (await state.swap('grant', id, stored.version, next, indexingOf(next, clock.now()))) return next
    }
  }

  const load = async (ids: readonly string[]): Promise<readonly Grant[]> =>
    (await Promise.all(ids.map(get))).filter((grant) => grant !== undefined)

  /** A list takes all that carry its label at once, which is quick for a few. */
  async function* listed(workload: string | undefined): AsyncIterable<readonly string[]> {
    const label = `workload=${workload}`
    const few = workload !== undefined && (await state.count('grant', label)) <= mostListed
    if (few) yield await state.find('grant', [label, 'live'], { limit: mostListed })
    else yield* state.scan('grant')
  }

  /** One entry of a grant at a time. */
  const inTurn = createTurns<GrantId>()

  return {
    async open(grants, limits, admit) {
      const [first] = grants
      if (limits.perMinute !== undefined) {
        const key = rateKey(first.workload, first.purpose)
        const { retryAfterMs } = await state.hit(key, limits.perMinute, rateWindowMs, grants.length)
        if (retryAfterMs > 0) return limited('limits.per_minute', limits.perMinute, Math.ceil(retryAfterMs / 1000))
      }
      const places = placesOf(first, limits, grants.length)
      const admitted = admit?.()
      if (admitted?.ok === false) return admitted
      const added = grants.map((grant) => ({ id: grant.id, value: grant, indexing: indexingOf(grant, clock.now()) }))
      const inserted = await state.insertAll('grant', added, places)
      if (inserted.outcome === 'limited') {
        const full = places.find(({ label }) => label === inserted.label)
        if (full?.rule === 'idempotency_key') return sameKeyAtOnce()
        return limited(full?.rule ?? 'limits', full?.max ?? 0, 30)
      }
      if (inserted.outcome === 'exists') throw new BrokerFault('internal', 'a grant id was drawn twice')
      return ok(undefined)
    },
    get,
    update,
    record: (grant, entry) =>
      inTurn(grant.id, async () => {
        const { status } = (await get(grant.id)) ?? grant
        if (!mayFollow(status, entry.kind)) {
          throw new BrokerFault('state_conflict', `${entry.kind} may not follow in status ${status}`)
        }
        const position = await ledger.append(entry)
        // The time of the entry, so that a restart finds the grant as it was.
        const now = position.timeMs
        const moved = await update(grant.id, (present) =>
          mayFollow(present.status, entry.kind) ? advance(present, entry, now, position.index) : undefined,
        )
        return { grant: seen(moved ?? advance(grant, entry, now, position.index)), position }
      }),
    async find(labels, page) {
      return load(await state.find('grant', labels, page))
    },
    async *eachLive(workload) {
      for await (const ids of listed(workload)) {
        for (const id of ids) {
          const grant = await get(id)
          if (grant === undefined || grant.status === 'ended') continue
          if (workload === undefined || grant.workload === workload) yield grant
        }
      }
    },
    async *walk(labels) {
      const pause = createPacer()
      for (const id of await state.find('grant', labels, { limit: Number.MAX_SAFE_INTEGER })) {
        const grant = await get(id)
        if (grant !== undefined) yield grant
        await pause()
      }
    },
    async counters(workload, purpose) {
      const active = await state.count('grant', `live=${workload}/${purpose}`)
      return { active, lastMinute: await state.hits(rateKey(workload, purpose), rateWindowMs) }
    },
    hangingOn: (generation) => state.count('grant', `generation=${generation}`),
    highestGeneration: () => highestGeneration,
    liveOfTask: (task) => state.count('grant', liveOfTask(task)),
    liveOfKey: (key) => state.count('grant', liveOfKey(key)),
    async due(limit) {
      return load(await state.due('grant', clock.now(), limit))
    },
    async restore(grant) {
      seen(grant)
      await state.insert('grant', grant.id, grant, indexingOf(grant, clock.now()))
    },
  }
}

/** What is limited, by which rule, and the label that counts it, for a request of that many grants. */
function placesOf(
  grant: Grant,
  limits: Access['limits'],
  grants: number,
): readonly (LabelLimit & { readonly rule: string })[] {
  const { active, taskActive } = limits
  return [
    // One key never holds the secrets of two requests, whoever asks at once.
    ...(grant.retry === undefined ? [] : [{ rule: 'idempotency_key', label: liveOfKey(grant.retry.key), max: grants }]),
    ...(active === undefined
      ? []
      : [{ rule: 'limits.active', label: `live=${grant.workload}/${grant.purpose}`, max: active }]),
    ...(taskActive === undefined || grant.task === undefined
      ? []
      : [{ rule: 'task.active', label: liveOfTask(grant.task), max: taskActive }]),
  ]
}

const sameKeyAtOnce = (): Result<never> =>
  refuse(
    'state_conflict',
    'idempotency_key',
    'another request with this key is under way; send this one again when that is over',
    1,
  )

const limited = (rule: string, max: number, retryAfterSeconds: number): Result<never> =>
  refuse('limit_reached', rule, `the purpose allows ${max}`, retryAfterSeconds)
