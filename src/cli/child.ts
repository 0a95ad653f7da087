import { type StdioOptions, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { CommandError, type Io } from './command.ts'

/** Signals that are passed on: those that ask a program to stop, to reload, to report or to redraw. */
const forwardedSignals = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
] as const satisfies readonly NodeJS.Signals[]

/** Signals that mean "end": before the command runs, they end `writ exec` instead. */
const endingSignals: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'])

// A terminal sends these to every process in the foreground, the child included: a second copy would count as "harder".
const sentByTerminal: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT'])

/** As a shell reports a program that a signal ended. */
export const signalStatus = (signal: NodeJS.Signals): number => 128 + constants.signals[signal]

/** Receives signals from before the credential is fetched until after it is handed back. */
export interface SignalRelay {
  /** The first ending signal that came while no command ran. */
  readonly ended: () => NodeJS.Signals | undefined
  /** Passes signals on to `kill` until the returned function is called. */
  attach(kill: (signal: NodeJS.Signals) => void): () => void
  close(): void
}

/** Takes the signals over from Node, so that none of them can end this process with the credential still alive. */
export function relaySignals(io: Io): SignalRelay {
  let ended: NodeJS.Signals | undefined
  let kill: ((signal: NodeJS.Signals) => void) | undefined
  const close = io.onSignal(forwardedSignals, (signal) => {
    if (kill === undefined) {
      if (endingSignals.has(signal)) ended ??= signal
    } else if (!(io.isTty.stdin && sentByTerminal.has(signal))) {
      kill(signal)
    }
  })
  return {
    ended: () => ended,
    attach(to) {
      kill = to
      return () => {
        kill = undefined
      }
    },
    close,
  }
}

/** Our own open files by the number under which the command is to find them. */
export type Descriptors = ReadonlyMap<number, number>

/**
 * Runs the command on our own standard streams, with `descriptors` beside them, and resolves with its exit status, or 128 and the number of the signal that
 * ended it. @throws CommandError 127 when there is no such command, 126 when it cannot be run.
 */
export function runChild(
  command: readonly string[],
  environment: Record<string, string>,
  signals: SignalRelay,
  descriptors: Descriptors = new Map(),
): Promise<number> {
  const [file = '', ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: streams(descriptors), env: environment })
    const detach = signals.attach((signal) => child.kill(signal))
    child.on('error', (error: NodeJS.ErrnoException) => {
      detach()
      const absent = error.code === 'ENOENT'
      reject(
        new CommandError(absent ? 127 : 126, `${file}: ${absent ? 'there is no such command' : 'it cannot be run'}`),
      )
    })
    child.on('exit', (code, signal) => {
      detach()
      resolve(signal === null ? (code ?? 1) : signalStatus(signal))
    })
  })
}

function streams(descriptors: Descriptors): StdioOptions {
  const count = Math.max(2, ...descriptors.keys()) - 2
  const further = Array.from({ length: count }, (_, at) => descriptors.get(at + 3) ?? 'ignore')
  return ['inherit', 'inherit', 'inherit', ...further]
}
