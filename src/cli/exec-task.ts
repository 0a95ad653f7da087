import { messageOf } from '../base/errors.ts'
import { couldNotEnd } from '../contract/grant.ts'
import { taskRequestSchema } from '../contract/task.ts'
import { type Io, UsageError } from './command.ts'
import { type Heartbeat, keepHeard } from './heartbeat.ts'
import type { BrokerClient } from './http-client.ts'
import { ProblemError } from './problem-error.ts'
import { printable } from './terminal.ts'

/** The task under which a command runs: its own, one that it joins, or the one that its token names. */
export interface ExecTask {
  /** The task to ask under; absent where none is named. */
  readonly named: string | undefined
  /** It was opened for the command, and everything that hangs on it is the command's. */
  readonly isOwn: boolean
  /** Says that it is at work from now on; `task` is what the answer named. */
  begin(task: string | undefined): void
  /**
   * Ends what is to end with the command: its own task, or the one that its token names once nothing else hangs on it. True when that
   * took the credential with it.
   */
  end(outcome: string): Promise<boolean>
}

/** Opens a task where an intent is stated. @throws UsageError when a task is named as well */
export async function execTask(
  client: BrokerClient,
  asked: { readonly purpose: string; readonly task: string | undefined; readonly intent: string | undefined },
  io: Io,
): Promise<ExecTask> {
  const say = (text: string): void => io.stderr(`writ: ${printable(text)}\n`)
  const own = asked.intent === undefined ? undefined : await openOwn(client, { ...asked, intent: asked.intent })
  const named = own ?? asked.task
  let heard: Heartbeat | undefined
  let derived: string | undefined

  const begin = (task: string | undefined): void => {
    if (named === undefined) derived = task
    if (task === undefined || heard !== undefined) return
    heard = keepHeard({ task, beat: client.heartbeat, clock: io.clock, say })
  }
  begin(named)

  return {
    named,
    isOwn: own !== undefined,
    begin,
    async end(outcome) {
      heard?.stop()
      const task = own ?? derived
      if (task === undefined) return false
      try {
        const { grants } = await client.endTask(task, own === undefined ? { idle: true } : { outcome })
        return own !== undefined && !grants.some(couldNotEnd)
      } catch (error) {
        // Another command of the same job still holds something: the last one closes it.
        const shared = own === undefined && error instanceof ProblemError && error.problem.code === 'state_conflict'
        if (!shared) say(`${task} could not be ended: ${messageOf(error)}; it ends by itself`)
        return false
      }
    },
  }
}

async function openOwn(
  client: BrokerClient,
  { purpose, task, intent }: { purpose: string; task: string | undefined; intent: string },
): Promise<string> {
  if (task !== undefined) throw new UsageError('--intent opens a task of its own, and --task names another')
  const parsed = taskRequestSchema.safeParse({ purpose, intent })
  if (!parsed.success) throw new UsageError(`--intent: ${parsed.error.issues[0]?.message ?? 'not valid'}`)
  return (await client.openTask(parsed.data)).task
}
