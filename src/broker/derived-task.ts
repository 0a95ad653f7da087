import type { NewTask } from '../grants/tasks.ts'
import type { TaskRule } from '../policy/policy-set.ts'
import type { Entered } from './desk.ts'

/** A job of a hosted runner of GitHub lasts at most six hours. */
const derivedSeconds = 21_600
/** No task outlasts a working day and the night after it; what runs longer is a service. */
const longestTaskSeconds = 86_400
/** How long a task may last when its request does not say. */
const defaultTaskSeconds = 3600

/** When a task that is opened now ends at the latest (ms since the epoch). */
export function taskEndsAtMs(
  rule: { readonly task: TaskRule | undefined; readonly untilMs: number | undefined },
  nowMs: number,
  askedSeconds: number = Math.min(defaultTaskSeconds, rule.task?.maxSeconds ?? defaultTaskSeconds),
): number {
  const seconds = Math.min(askedSeconds, rule.task?.maxSeconds ?? longestTaskSeconds)
  return Math.min(nowMs + seconds * 1000, rule.untilMs ?? Number.MAX_SAFE_INTEGER)
}

/**
 * The task that the token itself names: a CI job is one without asking. A pipeline's always is, because it comes to an end. A service's
 * pod is one only where its purpose says `derive: true`, because what a service holds is renewed for as long as it runs.
 */
export function derivedTask(
  { identity, party, policies }: Entered,
  purposeId: string,
  nowMs: number,
): (NewTask & { readonly run: string }) | undefined {
  const { run } = identity
  const workload = party.workload === undefined ? undefined : policies.byName.workload.get(party.workload)
  const purpose = workload?.purposes.get(purposeId)
  if (run === undefined || workload === undefined || purpose === undefined) return undefined
  if (workload.policy.type !== 'pipeline' && purpose.task?.derive !== true) return undefined
  return {
    workload: workload.name,
    owner: workload.policy.owner,
    purpose: purposeId,
    environment: purpose.policy.environment,
    intent: `${identity.flavour} ${run.replaceAll('/', ' ')}`,
    expiresAtMs: taskEndsAtMs(purpose, nowMs, purpose.task?.maxSeconds ?? derivedSeconds),
    heartbeatSeconds: purpose.task?.heartbeatSeconds,
    run,
  }
}
