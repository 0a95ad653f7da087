import { nearest } from '../base/nearest.ts'
import { version } from '../version.ts'
import { type Command, exit, type Io, type ListedCommand, UsageError } from './command.ts'
import { processIo } from './process-io.ts'
import { reportFailure } from './report-failure.ts'

// Imported only when chosen: `writ --help` and `writ get` must not pay for the broker.
const commands: readonly ListedCommand[] = [
  {
    name: 'serve',
    summary: 'run the broker in production',
    load: async () => (await import('./commands/serve.ts')).serveCommand,
  },
  {
    name: 'dev',
    summary: 'run everything in one process, to try it out',
    load: async () => (await import('./commands/dev.ts')).devCommand,
  },
  {
    name: 'demo',
    summary: 'play the whole story once and exit',
    load: async () => (await import('./commands/demo.ts')).demoCommand,
  },
  {
    name: 'get',
    summary: 'fetch a credential for a purpose',
    load: async () => (await import('./commands/get.ts')).getCommand,
  },
  {
    name: 'exec',
    summary: 'run a command with a credential that dies with it',
    load: async () => (await import('./commands/exec.ts')).execCommand,
  },
  {
    name: 'grants',
    summary: 'list grants',
    load: async () => (await import('./commands/grants.ts')).grantsCommand,
  },
  {
    name: 'revoke',
    summary: 'end one grant, or all that match',
    load: async () => (await import('./commands/revoke.ts')).revokeCommand,
  },
  {
    name: 'revocations',
    summary: 'show orders to revoke, and lift what they hold',
    load: async () => (await import('./commands/revocations.ts')).revocationsCommand,
  },
  {
    name: 'report',
    summary: 'what the record comes to',
    load: async () => (await import('./commands/report.ts')).reportCommand,
  },
  {
    name: 'reconcile',
    summary: 'compare the leases in Vault with the ledger',
    load: async () => (await import('./commands/reconcile.ts')).reconcileCommand,
  },
  {
    name: 'task',
    summary: 'open and end a unit of work',
    load: async () => (await import('./commands/task.ts')).taskCommand,
  },
  {
    name: 'signal',
    summary: 'send a security event token, to try the receiver out',
    load: async () => (await import('./commands/signal.ts')).signalCommand,
  },
  {
    name: 'approve',
    summary: 'say yes to a request that waits for you',
    load: async () => (await import('./commands/approval.ts')).approveCommand,
  },
  {
    name: 'deny',
    summary: 'say no to a request that waits for you',
    load: async () => (await import('./commands/approval.ts')).denyCommand,
  },
  {
    name: 'policy',
    summary: 'check, test and explain policies',
    load: async () => (await import('./commands/policy.ts')).policyCommand,
  },
  {
    name: 'ledger',
    summary: 'read and verify the record',
    load: async () => (await import('./commands/ledger.ts')).ledgerCommand,
  },
  {
    name: 'trace',
    summary: 'from a leaked user, certificate, key or token to whoever answers for it',
    load: async () => (await import('./commands/trace.ts')).traceCommand,
  },
  {
    name: 'witness',
    summary: 'cosign the checkpoints of other logs',
    load: async () => (await import('./commands/witness.ts')).witnessCommand,
  },
  {
    name: 'doctor',
    summary: 'check every dependency, permission and clock',
    load: async () => (await import('./commands/doctor.ts')).doctorCommand,
  },
]

/** Runs one command line and resolves with its exit status; never throws. */
export async function main(argv: readonly string[], io: Io = processIo()): Promise<number> {
  const [name, ...args] = argv
  try {
    if (name === undefined) {
      io.stderr(overview())
      return exit.usage
    }
    if (name === '--version' || name === '-V') {
      io.stdout(`writ ${version}\n`)
      return exit.done
    }
    if (name === '--help' || name === '-h' || (name === 'help' && args.length === 0)) {
      io.stdout(overview())
      return exit.done
    }
    return name === 'help' ? await run([...args, '--help'], io) : await run(argv, io)
  } catch (error) {
    return reportFailure(error, argv, io)
  }
}

async function run(argv: readonly string[], io: Io): Promise<number> {
  const [name = '', ...rest] = argv
  const listed = commands.find((candidate) => candidate.name === name)
  if (listed === undefined) {
    const guess = nearest(
      name,
      commands.map((candidate) => candidate.name),
    )
    throw new UsageError(`there is no command "${name}"${guess === undefined ? '' : `; did you mean ${guess}?`}`)
  }
  const [command, args] = await descend(await listed.load(), rest)
  if (asksForHelp(args)) {
    io.stdout(`${command.usage.trim()}\n`)
    return exit.done
  }
  return command.run(args, io)
}

async function descend(command: Command, args: readonly string[]): Promise<[Command, readonly string[]]> {
  const [name, ...rest] = args
  const listed = command.listed?.find((candidate) => candidate.name === name)
  const below =
    listed === undefined ? command.subcommands?.find((candidate) => candidate.name === name) : await listed.load()
  return below === undefined ? [command, args] : descend(below, rest)
}

// What follows `--` belongs to the command that `exec` runs.
function asksForHelp(args: readonly string[]): boolean {
  const own = args.includes('--') ? args.slice(0, args.indexOf('--')) : args
  return own.includes('--help') || own.includes('-h')
}

function overview(): string {
  const width = Math.max(...commands.map(({ name }) => name.length))
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`)
  return `writ: short-lived credentials, bound to a purpose and an owner, each one on a provable record

usage: writ COMMAND [options]

${lines.join('\n')}

writ COMMAND --help says more about one. --json prints machine output on stdout; all else goes to stderr.
Exit status: 0 done, 1 fault, 2 usage, 3 refused by policy, 4 not authenticated, 5 unavailable (try again),
6 verification failed.
`
}
