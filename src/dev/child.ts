import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

/** A server that runs beside this process and never outlives it. */
export interface GuardedChild {
  /** Resolves with the exit status when it has ended, for whatever reason. */
  readonly ended: Promise<number>
  /** Asks it to end, insists after five seconds, and resolves when it is gone. */
  stop(): Promise<void>
}

/** Who a child runs as, where that is not the user of this process. */
export interface RunAs {
  readonly uid?: number
  readonly gid?: number
}

// The guard holds the reading end of a pipe whose writing end only this process has. When this process is gone, however it
// went, the kernel closes the pipe, `read` returns, and the guard ends the child. The guard leads a session of its own, so
// that Ctrl-C and a signal to the group of this process reach neither the guard nor the child.
const guard = `
signal=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{
  read -r _ <&3
  kill -"$signal" "$child" 2>/dev/null
  tries=0
  while kill -0 "$child" 2>/dev/null && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "$child" 2>/dev/null
} &
watcher=$!
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
`

/**
 * Starts `command` under a guard that ends it with `signal` when this process ends, even by SIGKILL.
 * Its output goes to `logFile`. Needs a POSIX shell.
 */
export function startGuarded(
  command: readonly string[],
  options: { logFile: string; signal: 'INT' | 'TERM'; env?: Record<string, string>; runAs?: RunAs },
): GuardedChild {
  const log = openSync(options.logFile, 'a', 0o600)
  let child: ChildProcess
  try {
    child = spawn('/bin/sh', ['-c', guard, 'writ-guard', options.signal, ...command], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', log, log],
      ...(options.env === undefined ? {} : { env: options.env }),
      ...options.runAs,
    })
  } finally {
    closeSync(log)
  }
  const ended = new Promise<number>((resolve) => {
    child.once('error', () => resolve(127))
    child.once('exit', (status) => resolve(status ?? 1))
  })
  // The pipe breaks when the child ends first; that is no error of ours.
  child.stdin?.on('error', () => {})
  child.unref()
  return {
    ended,
    async stop() {
      child.ref()
      child.stdin?.end()
      await ended
    },
  }
}
