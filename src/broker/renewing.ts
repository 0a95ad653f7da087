import { parseDuration } from '../base/duration.ts'
import { BrokerFault } from '../base/errors.ts'
import { isId } from '../base/ids.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { Renewed } from '../contract/grant.ts'
import { about } from '../grants/end.ts'
import { type Grant, latestEndMs } from '../grants/grant.ts'
import type { Provenance } from '../grants/provenance.ts'
import { decide } from '../policy/decide.ts'
import type { Access, AccessRequest, Decision } from '../policy/decision.ts'
import type { Caller } from './caller.ts'
import type { Entered } from './desk.ts'
import { heldOr } from './held.ts'
import type { BrokerDeps } from './stages.ts'

/** The steps of a renewal. */
export interface Renewing {
  /** The caller's own live, renewable grant. */
  heldGrant(entered: Entered, id: string): Promise<Result<Grant>>
  decideAgain(entered: Entered, grant: Grant, ttl: string | undefined, caller: Caller): Promise<Decision>
  renew(grant: Grant, access: Access, by: Provenance): Promise<Result<Renewed>>
}

/** @param answered denies what nobody is left to answer for */
export function createRenewing(
  deps: BrokerDeps,
  answered: (entered: Entered, decision: Decision) => Decision,
): Renewing {
  const { registry, tasks, clock } = deps
  return {
    async heldGrant(entered, id) {
      const grant = isId('gr', id) ? await registry.get(id) : undefined
      if (grant === undefined || grant.workload !== entered.party.workload) {
        return refuse('not_found', 'grant', 'no such grant of this workload')
      }
      if (grant.status !== 'active') return refuse('state_conflict', 'grant.status', `it is ${grant.status}`)
      const held = heldOr(deps.orders, grant)
      if (!held.ok) return held
      if (!grant.renewable || grant.lease === undefined)
        return refuse('state_conflict', 'grant.renewable', 'it cannot be renewed')
      if (!(await tasks.stillOpen(grant.task))) return refuse('state_conflict', 'task.open', 'its task has ended')
      return ok(grant)
    },
    async decideAgain(entered, grant, ttl, caller) {
      const task = grant.task === undefined ? undefined : await tasks.get(grant.task)
      const wanted: AccessRequest = {
        purpose: grant.purpose,
        credential: grant.credential,
        ttlSeconds: ttl === undefined ? undefined : parseDuration(ttl),
        reason: grant.reason,
        task: grant.task ?? '',
        taskEndsAtMs: task?.expiresAtMs,
        params: grant.params === undefined ? {} : paramsIn(await deps.sealer.openText(grant.params)),
        delivery: grant.delivery,
        ip: caller.ip,
      }
      return answered(entered, decide(entered.policies, entered.identity, wanted, none, clock.now()))
    },
    async renew(grant, access, by) {
      const wantedMs = clock.now() + access.ttlSeconds * 1000
      const latestMs = latestEndMs(grant, access.ceilings) ?? Number.MAX_SAFE_INTEGER
      const tokenMs = grant.generation === undefined ? latestMs : deps.leasesEndMs(grant.generation)
      const endMs = Math.min(wantedMs, latestMs, tokenMs)
      const cappedBy =
        endMs < wantedMs ? [...access.cappedBy, tokenMs < latestMs ? 'vault' : 'issued'] : access.cappedBy
      const seconds = Math.floor((endMs - clock.now()) / 1000)
      // Asking for less than there is left is granted as it stands: a renewal never shortens. Less than a second more is not
      // worth a call to Vault and an entry, or renewing in a circle would keep both busy.
      if (grant.lease === undefined || seconds < 1 || endMs < (grant.expiresAtMs ?? 0) + 1_000)
        return ok(renewed(grant, cappedBy))
      const handle = await deps.sealer.open(grant.lease.sealed)
      const { expiresAtMs } = await deps.engine(grant.target.engine).renew(handle, seconds)
      const { grant: moved } = await registry.record(grant, {
        ...about(grant),
        ...by,
        kind: 'grant.renewed',
        expires: timeText(Math.min(expiresAtMs, endMs)),
        ceilings: [...access.ceilings],
      })
      // It was decided under the policies of when the call came in; others may be in force by now.
      const settled = moved.status === 'active' ? await deps.justified.settle(moved) : moved
      if (settled.status !== 'active') return refuse('state_conflict', 'grant.status', 'it was ended meanwhile')
      return ok(renewed(settled, cappedBy))
    },
  }
}

// The grant is already counted: a renewal takes no new place under the limits.
const none = { active: 0, lastMinute: 0 }

function renewed(grant: Grant, cappedBy: readonly string[]): Renewed {
  if (grant.expiresAtMs === undefined) throw new BrokerFault('internal', 'a renewable grant has an end')
  return { grant: grant.id, expires_at: timeText(grant.expiresAtMs), ttl_capped_by: [...cappedBy] }
}

// What was sealed was the checked parameters of a request.
const paramsIn = (text: string): AccessRequest['params'] => JSON.parse(text) as AccessRequest['params']
