import { bounded } from '../base/bounded.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { createPacer } from '../base/pacer.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { PolicyStatus } from '../contract/policy.ts'
import type { Engine, LeaseHandle } from '../engines/engine.ts'
import type { Ender } from '../grants/end.ts'
import { someAtATime } from '../grants/end-all.ts'
import type { Grant } from '../grants/grant.ts'
import { byBroker, type Provenance } from '../grants/provenance.ts'
import type { Registry } from '../grants/registry.ts'
import { shorten } from '../grants/shorten.ts'
import type { Task, Tasks } from '../grants/tasks.ts'
import { bearing } from '../policy/bearing.ts'
import { judge, taskGround } from '../policy/judge.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { State } from '../state/state.ts'
import type { Brake } from './brake.ts'

/**
 * Nothing outlives its reason: after each change of the policies, the live grants that they no longer support end, and those that they
 * support for a shorter time end earlier. Every other grant is left alone.
 */
export interface Justified {
  /**
   * Judges the live grants that the change can bear on, and starts ending those that lost their reason; resolves once they are judged.
   * Too many at once wait for an operator instead.
   */
  changed(before: PolicySet, after: PolicySet): Promise<void>
  /** The same for all live grants: at a start, when the folder may have changed meanwhile or a kill came between a change and its end. */
  all(): Promise<void>
  /** Ends what was held back. Refuses `state_conflict` when nothing is held under that digest. */
  accept(digest: string, by: Provenance): Promise<Result<void>>
  /** Why the policies in force do not support what was given under those before them; `undefined` when they do. */
  overtaken(grant: Grant): string | undefined
  /** Ends or shortens one grant as the policies in force ask, and returns it as it is then. */
  settle(grant: Grant): Promise<Grant>
  status(): Pick<PolicyStatus, 'held' | 'ending'>
  /** Begins no further end, and waits some moments for those under way. A next start goes on. */
  stop(): Promise<void>
}

interface Deps {
  readonly policies: { current(): PolicySet }
  readonly registry: Registry
  readonly tasks: Tasks
  readonly ender: Ender
  readonly brake: Brake
  readonly state: Pick<State, 'count'>
  readonly engine: (kind: string) => Engine
  readonly openLease: (sealed: string) => Promise<LeaseHandle>
  readonly clock: Clock
  readonly log: Log
}

/** Live grants and open tasks that the policies do not support as they are. */
interface Judged {
  readonly gone: readonly { readonly grant: Grant; readonly reason: string; readonly stopped: boolean }[]
  readonly short: readonly Grant[]
  readonly tasks: readonly Task[]
}

/** What the policies ask for: nothing, an end, or an earlier end. */
type Verdict =
  | { readonly type: 'end'; readonly reason: string; readonly stopped: boolean }
  | { readonly type: 'shorten'; readonly endsAtMs: number; readonly reason: string }

/** Ceilings count whole seconds, and Vault's moments are not ours. */
const roundingMs = 2_000
const mostReasons = 100
/** A Vault that does not answer must not keep the process from ending. */
const longestStopMs = 2_000

export function createJustified(deps: Deps): Justified {
  const { policies, registry, tasks, ender, brake, clock, log } = deps
  let stopped = false
  let ending = 0
  /** Whether an earlier judgement was not carried out to its end, so that what it found must be found again. */
  let leftOver = false
  const runs = new Set<Promise<void>>()
  let turn: Promise<unknown> = Promise.resolve()

  /** Judgements follow one another: each rests on what the one before it held back or began. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = turn.then(act)
    turn = mine.catch(() => {})
    return mine
  }

  function verdictOn(set: PolicySet, grant: Grant): Verdict | undefined {
    const { status, mintLost, policy } = grant
    if (policy === set.digest || mintLost || status === 'ending' || status === 'ended') return undefined
    const standing = judge(set, grant, clock.now())
    if (!standing.stands) {
      const { code, reason } = standing
      return { type: 'end', reason: withChange(reason, grant, set), stopped: code === 'workload_suspended' }
    }
    const { endsAtMs, bound } = standing
    if (grant.expiresAtMs === undefined || endsAtMs + roundingMs >= grant.expiresAtMs) return undefined
    return { type: 'shorten', endsAtMs, reason: withChange(`${bound}: it is lower now`, grant, set) }
  }

  async function judgeLive(set: PolicySet, scope: ReadonlySet<string> | 'all'): Promise<Judged> {
    const pace = createPacer()
    const gone: Judged['gone'][number][] = []
    const short: Grant[] = []
    const lost: Task[] = []
    for (const workload of scope === 'all' ? [undefined] : scope) {
      for await (const grant of registry.eachLive(workload)) {
        const verdict = verdictOn(set, grant)
        if (verdict?.type === 'end') gone.push({ grant, reason: verdict.reason, stopped: verdict.stopped })
        else if (verdict?.type === 'shorten') short.push(grant)
        await pace()
      }
      for await (const task of tasks.eachOpen(workload)) {
        if (taskGround(set, task, clock.now()) !== undefined) lost.push(task)
        await pace()
      }
      await pace()
    }
    return { gone, short, tasks: lost }
  }

  async function review(set: PolicySet, scope: ReadonlySet<string> | 'all'): Promise<void> {
    const judged = await judgeLive(set, scope)
    if (scope === 'all') leftOver = false
    const ordered = orderedIn(judged)
    const ends = judged.gone.length - ordered.gone.length
    const live = await deps.state.count('grant', 'live')
    if (brake.holdsBack(set.digest, ends, live)) {
      const named = new Set(ordered.gone)
      const rest = judged.gone.filter((each) => !named.has(each))
      await brake.hold({ digest: set.digest, live, would_end: ends, reasons: reasonsOf(rest) })
      carryOut(set, ordered)
      return
    }
    await brake.release()
    carryOut(set, judged)
  }

  function carryOut(set: PolicySet, { gone, short, tasks: lost }: Judged): void {
    if (gone.length + short.length + lost.length === 0) return
    log.info({ digest: set.digest, end: gone.length, shorten: short.length, tasks: lost.length }, 'policy.unsupported')
    const grants = [...gone.map(({ grant }) => grant), ...short]
    ending += grants.length
    const run = someAtATime(grants, async (grant) => {
      await actOn(set, grant)
      ending--
    })
      .then(() => endTasks(set, lost))
      .finally(() => runs.delete(run))
    runs.add(run)
  }

  /** Looks again: the grant may have been renewed under this set since it was judged, and another set may be in force. */
  async function actOn(set: PolicySet, { id }: Grant): Promise<void> {
    if (stopped || policies.current().digest !== set.digest) {
      leftOver = true
      return
    }
    try {
      const grant = await registry.get(id)
      if (grant !== undefined) await carry(grant, set)
    } catch (error) {
      // An end that failed is tried again by the sweep; whatever else it was, the next judgement finds it.
      leftOver = true
      log.error({ grant: id, error: messageOf(error) }, 'policy.end_failed')
    }
  }

  async function carry(grant: Grant, set: PolicySet): Promise<Grant> {
    const verdict = verdictOn(set, grant)
    if (verdict === undefined) return grant
    const by = byPolicies(set)
    if (verdict.type === 'shorten') return shorten(deps, grant, { ...verdict, by })
    await ender.end(grant, { cause: 'policy_changed', reason: verdict.reason, by })
    return (await registry.get(grant.id)) ?? grant
  }

  async function endTasks(set: PolicySet, lost: readonly Task[]): Promise<void> {
    for (const { id } of lost) {
      const task = await tasks.get(id)
      if (stopped || policies.current().digest !== set.digest || task?.status !== 'open') continue
      const reason = taskGround(set, task, clock.now())
      if (reason !== undefined)
        await tasks.end(task, { cause: 'policy', outcome: bounded(reason), by: byPolicies(set) })
    }
  }

  return {
    changed: (before, after) =>
      inTurn(async () => {
        const everything = leftOver || runs.size > 0 || brake.held() !== undefined
        await review(after, everything ? 'all' : await bearing(before, after))
      }),
    all: () => inTurn(() => review(policies.current(), 'all')),
    accept: (digest, by) =>
      inTurn(async () => {
        const held = brake.held()
        if (held?.digest !== digest || policies.current().digest !== digest) {
          return refuse(
            'state_conflict',
            'policy.held',
            held === undefined ? 'nothing is held' : `${held.digest} is held`,
          )
        }
        await brake.accept(digest, held.would_end, by)
        await review(policies.current(), 'all')
        return ok(undefined)
      }),
    overtaken: (grant) => verdictOn(policies.current(), grant)?.reason,
    settle: (grant) => carry(grant, policies.current()),
    status: () => ({ held: brake.held() ?? null, ending }),
    async stop() {
      stopped = true
      await Promise.race([turn.then(() => Promise.all(runs)), sleep(clock, longestStopMs)])
    },
  }
}

const byPolicies = ({ digest }: PolicySet): Provenance => ({ ...byBroker('policies'), policy: digest })

/**
 * A workload that is suspended or retired by name is an order, and no brake stands in its way. Several at once may be the slip of a
 * tool, and count like everything else.
 */
function orderedIn({ gone, tasks }: Judged): Judged {
  const stops = gone.filter((each) => each.stopped)
  const names = new Set(stops.map(({ grant }) => grant.workload))
  if (names.size !== 1) return { gone: [], short: [], tasks: [] }
  return { gone: stops, short: [], tasks: tasks.filter(({ workload }) => names.has(workload)) }
}

function reasonsOf(gone: Judged['gone']): { reason: string; grants: number }[] {
  const counts = new Map<string, number>()
  for (const { reason } of gone) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return [...counts]
    .map(([reason, grants]) => ({ reason, grants }))
    .sort((a, b) => b.grants - a.grants || (a.reason < b.reason ? -1 : 1))
    .slice(0, mostReasons)
}

/** The reason as the record has it: the rule, and the sets before and after. */
function withChange(reason: string, { policy }: Grant, { digest }: PolicySet): string {
  const from = policy === '' ? '' : `${policy.slice(0, 12)} `
  return `${bounded(reason, 400)}; policies ${from}→ ${digest.slice(0, 12)}`
}
