import { sleep } from '../base/clock.ts'
import type { StoredEntryView } from '../contract/ledger.ts'
import { CommandError, exit, type Io } from './command.ts'
import type { BrokerClient } from './http-client.ts'
import { ProblemError } from './problem-error.ts'

/** Entries of one ledger: the newest, and those to come. */
export interface TailSource {
  /** The newest `count`, oldest first. */
  newest(count: number): Promise<readonly StoredEntryView[]>
  /** Shows what comes after those, until `stop` is aborted. */
  follow(show: (entry: StoredEntryView) => void, stop: AbortSignal): Promise<void>
}

/** The next entries each time it is called; empty when there are none now. */
export type Poll = () => Promise<readonly StoredEntryView[]>

const pollMs = 500

/** A source that has to be asked again and again, and that begins at its first entry. */
export const polledSource = (poll: Poll, { clock }: Io): TailSource => ({
  async newest(count) {
    let kept: StoredEntryView[] = []
    for (let next = await poll(); next.length > 0; next = await poll()) {
      kept = count === 0 ? [] : [...kept, ...next].slice(-count)
    }
    return kept
  },
  async follow(show, stop) {
    for (;;) {
      for (const entry of await poll()) show(entry)
      if (await paused(sleep(clock, pollMs), stop)) return
    }
  },
})

/** Waits; true when `stop` was aborted meanwhile. */
async function paused(pause: Promise<void>, stop: AbortSignal): Promise<boolean> {
  if (!stop.aborted) {
    const stopped = new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }))
    await Promise.race([pause, stopped])
  }
  return stop.aborted
}

/** Entries of a page; the broker gives no more at once. */
const pageEntries = 1_000
const reconnectMs = 1_000
/** Connections in a row that came to nothing. */
const mostFailures = 10

/** A broker by its events. One that is too old to have them is asked again and again instead. */
export function brokerSource(client: BrokerClient, filter: Readonly<Record<string, string>>, io: Io): TailSource {
  let after: number | undefined
  let older: TailSource | undefined

  function beginOlder(): TailSource {
    older = polledSource(pollBroker(client, filter, after), io)
    return older
  }

  /** Going on where the last connection ended. */
  async function followEvents(show: (entry: StoredEntryView) => void, stop: AbortSignal): Promise<void> {
    for (let failures = 0; !stop.aborted; ) {
      try {
        for await (const entry of client.events(filter, after, stop)) {
          failures = 0
          after = entry.index
          show(entry)
        }
      } catch (error) {
        if (!isPassing(error) || ++failures > mostFailures) throw error
      }
      if (await paused(sleep(io.clock, reconnectMs), stop)) return
    }
  }

  return {
    async newest(count) {
      try {
        // The place to go on from is the newest entry of all: the newest that matches may be long past.
        const [last] = (await client.entries({ order: 'desc', limit: '1' })).entries
        after = last?.index
        return last === undefined ? [] : await newestBefore(client, filter, last.index + 1, count)
      } catch (error) {
        if (!isProblem(error, 400)) throw error
        return beginOlder().newest(count)
      }
    },
    async follow(show, stop) {
      if (older !== undefined) return older.follow(show, stop)
      try {
        await followEvents(show, stop)
      } catch (error) {
        if (!isProblem(error, 404)) throw error
        await beginOlder().follow(show, stop)
      }
    },
  }
}

async function newestBefore(
  client: BrokerClient,
  filter: Readonly<Record<string, string>>,
  end: number,
  count: number,
): Promise<readonly StoredEntryView[]> {
  const found: StoredEntryView[] = []
  for (let before: number | null = end; before !== null && found.length < count; ) {
    const limit = Math.min(count - found.length, pageEntries)
    const page = { ...filter, order: 'desc', before: String(before), limit: String(limit) }
    const { entries, next } = await client.entries(page)
    found.push(...entries)
    before = next
  }
  return found.reverse()
}

function pollBroker(client: BrokerClient, filter: Readonly<Record<string, string>>, begin: number | undefined): Poll {
  let after = begin
  return async () => {
    for (;;) {
      const from = after === undefined ? {} : { after: String(after) }
      const { entries, next } = await client.entries({ ...filter, limit: String(pageEntries), ...from })
      after = next ?? entries.at(-1)?.index ?? after
      // A page without a match may still say where to look on.
      if (entries.length > 0 || next === null) return entries
    }
  }
}

const isProblem = (error: unknown, status: number): boolean =>
  error instanceof ProblemError && error.problem.status === status

/** A connection that was lost or a broker that is full or restarting; another try may do. */
const isPassing = (error: unknown): boolean =>
  isProblem(error, 503) || (error instanceof CommandError && error.exitStatus === exit.unavailable)
