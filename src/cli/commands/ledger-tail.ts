import { stat } from 'node:fs/promises'
import type { StoredEntryView } from '../../contract/ledger.ts'
import { createFollower } from '../../ledger/verify/follow.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { parseOptions } from '../options.ts'
import { brokerSource, type Poll, polledSource, type TailSource } from '../tail-broker.ts'
import { printable } from '../terminal.ts'

/** `writ ledger tail`: the newest entries, and those to come. */
export const ledgerTailCommand: Command = {
  name: 'tail',
  summary: 'show the newest entries, and with -f those to come',
  usage: `
usage: writ ledger tail [DIR] [options]

Shows entries of the ledger in DIR, or without DIR those of a broker that the token's holder may see. It checks no signature; for
that there is writ ledger verify.

  -f, --follow      wait for further entries until interrupted
  -n, --lines N     how many of the newest to begin with (default 10; 0 for none)
  --kind KIND       only this kind, such as grant.issued
  --workload NAME   only this workload
  --grant ID        only this grant
  --json            one JSON document a line: {"index","leaf_hash","entry"}
${clientHelp}

examples:
  writ ledger tail ./ledger -n 20
  writ ledger tail -f --workload checkout --json
`,
  run,
}

const filters = ['kind', 'workload', 'grant'] as const

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...clientOptions,
      follow: { type: 'boolean', short: 'f' },
      lines: { type: 'string', short: 'n' },
      kind: { type: 'string' },
      workload: { type: 'string' },
      grant: { type: 'string' },
      json: { type: 'boolean' },
    },
    ['[DIR]'],
  )
  if (!/^\d{1,6}$/.test(values.lines ?? '10')) throw new UsageError('--lines is a number up to 999999')
  const filter = Object.fromEntries(filters.flatMap((name) => (values[name] ? [[name, values[name]]] : [])))
  const [dir] = positionals
  if (dir !== undefined && values.url !== undefined) throw new UsageError('DIR and --url contradict each other')
  const source =
    dir === undefined ? brokerSource(connect(values, io), filter, io) : polledSource(await pollFolder(dir, filter), io)
  const show = (shown: StoredEntryView): void => (values.json ? writeJson(io, shown) : io.stdout(entryLine(shown)))
  for (const shown of await source.newest(Number(values.lines ?? 10))) show(shown)
  if (values.follow) await follow(source, show, io)
  return exit.done
}

async function follow(source: TailSource, show: (shown: StoredEntryView) => void, io: Io): Promise<void> {
  const stop = new AbortController()
  const stopListening = io.onSignal(['SIGINT', 'SIGTERM'], () => stop.abort())
  // The clock's timers keep no process alive, and waiting for entries is all this command does.
  const alive = setInterval(() => {}, 60_000)
  try {
    await source.follow(show, stop.signal)
  } finally {
    clearInterval(alive)
    stopListening()
  }
}

async function pollFolder(dir: string, filter: Readonly<Record<string, string>>): Promise<Poll> {
  const found = await stat(dir).catch(() => undefined)
  if (found?.isDirectory() !== true) {
    throw new CommandError(exit.fault, `${printable(dir)} is not a folder that can be read`)
  }
  const follower = createFollower(dir)
  return async () => {
    for (;;) {
      const next = await follower.next()
      const matching = next
        .map(({ index, leafHash, entry }) => ({ index, leaf_hash: leafHash, entry: recordOf(entry) }))
        .filter(({ entry }) => filters.every((name) => filter[name] === undefined || entry[name] === filter[name]))
      if (matching.length > 0 || next.length === 0) return matching
    }
  }
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? { ...value } : {}

/** One line: index, time, kind, then who and what. Everything in it is text of others. */
export function entryLine({ index, entry }: Pick<StoredEntryView, 'index' | 'entry'>): string {
  const text = (name: string): string => (typeof entry[name] === 'string' ? entry[name] : '')
  const rest = [
    'workload',
    'purpose',
    'credential',
    'grant',
    'task',
    'code',
    'cause',
    'outcome',
    'signal',
    'subject',
    'effect',
    'finding',
    'setting',
  ]
    .filter((name) => text(name) !== '')
    .map((name) => `${name}=${text(name)}`)
  const { type = '', subject = '', name = '', reason = '' } = recordOf(entry.actor)
  const who = `${type} ${name || subject || reason}`.trim()
  return `${printable(`${String(index).padStart(7)}  ${text('time')}  ${text('kind').padEnd(20)}  ${who}  ${rest.join(' ')}`.trimEnd())}\n`
}
