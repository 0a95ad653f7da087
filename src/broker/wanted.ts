import { parseDuration } from '../base/duration.ts'
import { newId } from '../base/ids.ts'
import { ok, type Result } from '../base/result.ts'
import { each, type Several } from '../base/several.ts'
import type { CredentialRequest } from '../contract/credential.ts'
import type { NewTask, Task } from '../grants/tasks.ts'
import type { PolicySet } from '../policy/compile.ts'
import type { AccessRequest } from '../policy/decision.ts'
import type { Caller } from './caller.ts'
import type { Part } from './composite.ts'
import { derivedTask } from './derived-task.ts'
import type { Entered } from './desk.ts'
import { type Retry, retryKey, retryOf } from './retry.ts'
import type { BrokerDeps } from './stages.ts'

/** A request in the words of policy, with what must be done for it before its grant is opened. */
export interface Wanted extends AccessRequest {
  /** The task that the token names and that nobody has opened yet; `task` is its id. */
  readonly unopened?: NewTask & { readonly run: string }
  readonly retry?: Retry
}

/** From the words of the wire to those of policy, with the task that the request or its token names. */
export interface Wanting {
  /**
   * The request in the words of policy, once the task it names is known to be the caller's and open, or with the one that its token
   * names; and what came of the same request before, where it carries an Idempotency-Key. One for each credential that is asked for.
   */
  wanted(
    entered: Entered,
    request: CredentialRequest,
    caller: Caller,
    key: string | undefined,
  ): Promise<Result<Several<Wanted>>>
  /** Opens the task that the token names, once policy supports what is asked for under it. */
  inTask(entered: Entered, parts: Several<Part>): Promise<Result<Several<Part>>>
}

export function createWanting({ registry, tasks, clock }: Pick<BrokerDeps, 'registry' | 'tasks' | 'clock'>): Wanting {
  async function withDerivedTask(entered: Entered, base: Wanted): Promise<Wanted> {
    const derived = derivedTask(entered, base.purpose, clock.now())
    if (derived === undefined) return base
    const open = await tasks.ofRun(derived.workload, derived.purpose, derived.run)
    if (open !== undefined) return within(base, open)
    const id = newId('tsk', clock.now())
    return { ...within(base, { ...derived, id }), unopened: { ...derived, id } }
  }

  return {
    async wanted(entered, request, caller, key) {
      const workload = entered.party.workload ?? ''
      const names = namesIn(request)
      const retry =
        key === undefined
          ? undefined
          : await retryOf(registry, retryKey(workload, request.purpose, key, request), names.length)
      if (retry?.ok === false) return retry
      const base: Wanted = { ...accessRequest(request, caller), ...(retry && { retry: retry.value }) }
      const parts = (whole: Wanted) => each(names, (name) => partOf(whole, name, names, entered.policies))
      if (request.task === undefined) return ok(parts(await withDerivedTask(entered, base)))
      const task = await tasks.held(request.task, workload, request.purpose)
      return task.ok ? ok(parts(within(base, task.value))) : task
    },
    async inTask(entered, parts) {
      const { unopened } = parts[0].wanted
      if (unopened === undefined) return ok(parts)
      const opened = await tasks.openRun(unopened, entered.by)
      return opened.ok ? ok(each(parts, (part) => ({ ...part, wanted: within(part.wanted, opened.value) }))) : opened
    },
  }
}

/** The names that a request gives; one that is left out is for policy to choose. */
const namesIn = ({ credential }: CredentialRequest): Several<string | undefined> =>
  typeof credential === 'object' ? [credential[0] ?? '', ...credential.slice(1)] : [credential]

/** Each credential of a set gets the parameters that it takes. What none of them takes, policy refuses whichever it looks at. */
function partOf(
  whole: Wanted,
  credential: string | undefined,
  names: Several<string | undefined>,
  { byName }: PolicySet,
): Wanted {
  if (names.length === 1) return { ...whole, credential }
  const takes = (name: string | undefined, param: string): boolean =>
    byName.credential.get(name ?? '')?.params.has(param) === true
  const params = Object.entries(whole.params).filter(
    ([param]) => takes(credential, param) || !names.some((name) => takes(name, param)),
  )
  return { ...whole, credential, params: Object.fromEntries(params) }
}

const within = <W extends AccessRequest>(wanted: W, task: Pick<Task, 'id' | 'expiresAtMs'>): W => ({
  ...wanted,
  task: task.id,
  taskEndsAtMs: task.expiresAtMs,
})

const accessRequest = (request: CredentialRequest, caller: Caller): AccessRequest => ({
  purpose: request.purpose,
  credential: undefined,
  ttlSeconds: request.ttl === undefined ? undefined : parseDuration(request.ttl),
  reason: request.reason ?? '',
  task: '',
  taskEndsAtMs: undefined,
  params: request.params ?? {},
  delivery: request.delivery,
  ip: caller.ip,
})
