import { couldNotEnd } from '../../contract/grant.ts'
import { taskRequestSchema } from '../../contract/task.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { endedTable } from '../ended-grants.ts'
import { parseOptions } from '../options.ts'

const startUsage = `
usage: writ task start --purpose P --intent TEXT [--ttl 30m] [options]

Opens a task and prints its id. Grants that name it end with it.

  --purpose P         the purpose the task works for
  --intent TEXT       what it is about to do, in words an auditor can read
  --ttl 30m           when it ends by itself at the latest
  --json              the whole task
${clientHelp}

example:
  TASK=$(writ task start --purpose fix-bug --intent "find why order 42 was billed twice")
`

const endUsage = `
usage: writ task end TASK [--outcome TEXT] [options]

Ends a task and every grant that hangs on it, and says how each grant ended. Exit status 1 when a secret could not be
ended; the broker goes on trying.

  --outcome TEXT      what came of it, for the record
  --json              one document
${clientHelp}
`

const heartbeatUsage = `
usage: writ task heartbeat TASK [options]

Says that the task is still at work, and when that must be said again. Where the purpose asks for heartbeats, a task
that misses one ends, and its grants with it; writ exec says it by itself while its command runs.

  --json              the whole task
${clientHelp}
`

const start: Command = { name: 'start', summary: 'open a task', usage: startUsage, run: runStart }
const end: Command = { name: 'end', summary: 'end a task and its grants', usage: endUsage, run: runEnd }
const heartbeat: Command = {
  name: 'heartbeat',
  summary: 'say that it is still at work',
  usage: heartbeatUsage,
  run: runHeartbeat,
}

/** `writ task start|end|heartbeat`: a unit of work whose grants end with it. */
export const taskCommand: Command = {
  name: 'task',
  summary: 'open and end a unit of work',
  usage: `
usage: writ task start|end|heartbeat [options]

  start      ${start.summary}
  end        ${end.summary}
  heartbeat  ${heartbeat.summary}
`,
  subcommands: [start, end, heartbeat],
  run: async () => {
    throw new UsageError('writ task takes start, end or heartbeat')
  },
}

async function runStart(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    ...clientOptions,
    purpose: { type: 'string' },
    intent: { type: 'string' },
    ttl: { type: 'string' },
    json: { type: 'boolean' },
  })
  const { purpose, intent, ttl } = values
  const parsed = taskRequestSchema.safeParse({ purpose, intent, ...(ttl === undefined ? {} : { ttl }) })
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const option = String(issue?.path[0] ?? 'purpose')
    const missing = issue?.code === 'invalid_type'
    throw new UsageError(`--${option}${missing ? ' is missing' : `: ${issue?.message ?? 'not valid'}`}`)
  }
  const task = await connect(values, io).openTask(parsed.data)
  if (values.json) writeJson(io, task)
  else io.stdout(`${task.task}\n`)
  return exit.done
}

async function runEnd(args: readonly string[], io: Io): Promise<number> {
  const options = { ...clientOptions, outcome: { type: 'string' }, json: { type: 'boolean' } } as const
  const { values, positionals } = parseOptions(args, options, ['TASK'])
  const ended = await connect(values, io).endTask(positionals[0] ?? '', { outcome: values.outcome })
  if (values.json) writeJson(io, ended)
  else {
    io.stdout(`${ended.task} ended with ${ended.grants.length} grants\n`)
    io.stdout(endedTable(ended.grants))
  }
  const left = ended.grants.filter(couldNotEnd).length
  if (left > 0) io.stderr(`${left} of ${ended.grants.length} could not be ended; the broker goes on trying\n`)
  return left > 0 ? exit.fault : exit.done
}

async function runHeartbeat(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(args, { ...clientOptions, json: { type: 'boolean' } }, ['TASK'])
  const task = await connect(values, io).heartbeat(positionals[0] ?? '')
  if (values.json) writeJson(io, task)
  else {
    const next = task.heartbeat_due_at === null ? '' : `; the next heartbeat is due at ${task.heartbeat_due_at}`
    io.stdout(`${task.task} is open until ${task.expires_at}${next}\n`)
  }
  return exit.done
}
