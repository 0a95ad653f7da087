import type { Clock } from '../base/clock.ts'
import { type Code, codes } from '../base/codes.ts'
import type { Environment } from '../config/environment.ts'
import { jsonText } from './terminal.ts'

/** The exit statuses of every command; documented in docs/cli.md. */
export const exit = {
  done: 0,
  fault: 1,
  usage: 2,
  refused: 3,
  unauthenticated: 4,
  unavailable: 5,
  verificationFailed: 6,
} as const

/** The exit status that tells a script what a code means for it. */
export function exitStatusOf(code: Code): number {
  const { status } = codes[code]
  if (status === 401) return exit.unauthenticated
  if (status === 403) return exit.refused
  if (status === 429 || status === 503) return exit.unavailable
  if (status === 400 || status === 413 || status === 415) return exit.usage
  return exit.fault
}

/** All that a command may touch of the process it runs in, so that it can run in a test or inside another. */
export interface Io {
  /** Writes as is; commands end their lines themselves. Only results go here. */
  stdout(text: string): void
  /** Resolves when whoever reads stdout has taken what was written; for output that is larger than memory should be. */
  drained?(): Promise<void>
  /** Progress, warnings and errors. */
  stderr(text: string): void
  /** Everything on standard input as UTF-8, up to `maxBytes` (default 1 MiB); more is a `CommandError`. */
  readStdin(maxBytes?: number): Promise<string>
  /** Asks on the terminal and resolves with the line; `undefined` when there is no terminal to ask on. */
  ask(question: string): Promise<string | undefined>
  readonly isTty: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean }
  readonly environment: Environment
  readonly clock: Clock
  /** Runs `handler` on each of these signals instead of ending the process; call the result to stop listening. */
  onSignal(signals: readonly NodeJS.Signals[], handler: (signal: NodeJS.Signals) => void): () => void
}

/** One command of `writ`, or one verb below it. */
export interface Command {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** The whole help text: usage line, options, examples. Printed by `--help` before `run` is ever called. */
  readonly usage: string
  /** Verbs below this command (`policy check`); the first argument that names one selects it. */
  readonly subcommands?: readonly Command[]
  /** Further verbs, each imported only when it is selected. */
  readonly listed?: readonly ListedCommand[]
  /**
   * Does the work and resolves with the exit status. Throw `UsageError` or `CommandError` for what the caller should read;
   * `BrokerFault` and `ProblemError` are understood too. With `--json`, results are one JSON document (or JSON lines)
   * on stdout and all else goes to stderr.
   */
  run(args: readonly string[], io: Io): Promise<number>
}

/** A command that is imported only when it is chosen, so that the others need not pay for it. */
export interface ListedCommand {
  readonly name: string
  readonly summary: string
  readonly load: () => Promise<Command>
}

/** The command line itself is wrong: exit status 2, with a hint at `--help`. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

/** The command could not do its work, for a reason that is its own to explain. */
export class CommandError extends Error {
  readonly exitStatus: number
  /** What to do about it, printed on a line of its own. */
  readonly fix: string | undefined

  constructor(exitStatus: number, message: string, fix?: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'CommandError'
    this.exitStatus = exitStatus
    this.fix = fix
  }
}

/** Writes one JSON document and a newline: the whole output of a command with `--json`, or one line of a stream. */
export function writeJson(io: Io, value: unknown): void {
  io.stdout(`${jsonText(value)}\n`)
}
