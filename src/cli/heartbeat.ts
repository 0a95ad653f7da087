import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { TaskView } from '../contract/task.ts'
import { exit, exitStatusOf } from './command.ts'
import { ProblemError } from './problem-error.ts'

/** Says of one task that it is at work, until `stop`. */
export interface Heartbeat {
  stop(): void
}

const shortestPauseMs = 500

/**
 * Sends a heartbeat at once, and then three within the time the broker waits for one, so that two may be lost. Where the task asks for
 * none, or the broker says that it is over, it stops; that it is over is said once.
 */
export function keepHeard(deps: {
  readonly task: string
  readonly beat: (task: string) => Promise<TaskView>
  readonly clock: Clock
  readonly say: (text: string) => void
}): Heartbeat {
  const { task, clock, say } = deps
  let timer: Timer | undefined
  let stopped = false
  let pauseMs = shortestPauseMs

  const beat = async (): Promise<void> => {
    try {
      const { heartbeat_seconds: seconds } = await deps.beat(task)
      if (seconds === null) return
      pauseMs = Math.max(shortestPauseMs, (seconds * 1000) / 3)
    } catch (error) {
      const over = error instanceof ProblemError && exitStatusOf(error.problem.code) !== exit.unavailable
      if (!stopped && over) say(`${task} is not kept alive: ${error.problem.title} (${error.problem.code})`)
      if (over) return
      if (!stopped) say(`a heartbeat of ${task} was not heard: ${messageOf(error)}`)
    }
    if (!stopped) timer = clock.after(pauseMs, () => void beat())
  }

  void beat()
  return {
    stop() {
      stopped = true
      timer?.cancel()
    },
  }
}
