import { codes } from '../base/codes.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { CommandError, exit, exitStatusOf, type Io, UsageError, writeJson } from './command.ts'
import { ProblemError } from './problem-error.ts'
import { printable } from './terminal.ts'

/** What a failed command says, the same for a person (stderr) and for a program (`--json`, stdout). */
interface Failure {
  readonly exit: number
  readonly message: string
  readonly fix?: string
  readonly code?: string
  readonly request_id?: string
  readonly reasons?: readonly string[]
  readonly retry_after_seconds?: number
}

/** Explains what was thrown and returns the exit status for it. With `--json`, stdout gets one `{"error":{…}}` document. */
export function reportFailure(error: unknown, argv: readonly string[], io: Io): number {
  const failure = describe(error, argv)
  io.stderr(`writ: ${printable(failure.message, true)}\n`)
  if (failure.reasons !== undefined && failure.reasons.length > 0) {
    io.stderr(`  because: ${printable(failure.reasons.join(', '))}\n`)
  }
  if (failure.fix !== undefined) io.stderr(`  fix: ${printable(failure.fix, true)}\n`)
  if (failure.request_id !== undefined) io.stderr(`  request: ${printable(failure.request_id)}\n`)
  if (wantsJson(argv)) writeJson(io, { error: failure })
  return failure.exit
}

function describe(error: unknown, argv: readonly string[]): Failure {
  if (error instanceof UsageError) {
    const known = argv[0] !== undefined && /^[a-z]+$/.test(argv[0]) && !error.message.startsWith('there is no command')
    return { exit: exit.usage, message: error.message, fix: `writ ${known ? `${argv[0]} ` : ''}--help` }
  }
  if (error instanceof CommandError) {
    return { exit: error.exitStatus, message: error.message, ...(error.fix === undefined ? {} : { fix: error.fix }) }
  }
  if (error instanceof ProblemError) {
    const { code, title, detail, fix, request_id, reasons } = error.problem
    return {
      exit: exitStatusOf(code),
      code,
      message: `${title} (${code}): ${detail}`,
      fix,
      request_id,
      reasons,
      ...(error.retryAfterSeconds === undefined ? {} : { retry_after_seconds: error.retryAfterSeconds }),
    }
  }
  if (error instanceof BrokerFault) {
    return { exit: exitStatusOf(error.code), code: error.code, message: error.message, fix: codes[error.code].fix }
  }
  return { exit: exit.fault, message: `unexpected fault: ${messageOf(error)}` }
}

function wantsJson(argv: readonly string[]): boolean {
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv
  return own.includes('--json') || own.includes('--format=json') || own.join(' ').includes('--format json')
}
