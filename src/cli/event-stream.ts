import { type StoredEntryView, storedEntrySchema } from '../contract/ledger.ts'
import { openStream, parseJson, type Target, Unreachable } from './broker-call.ts'
import { CommandError, exit } from './command.ts'
import { ProblemError } from './problem-error.ts'

/** The broker shows a sign of life every 15 s; after four that did not come the connection is dead, whatever TCP thinks. */
const silenceMs = 60_000
/** Characters of one event: an entry has at most 64 KiB. */
const maxEventCharacters = 1024 * 1024

/**
 * Entries as the broker records them, until it ends the stream or `stop` is aborted. `after` is the index of the last entry that was
 * seen. @throws ProblemError when the broker says no, CommandError (unavailable) when the connection is lost
 */
export async function* followEntries(
  to: Target,
  filter: Readonly<Record<string, string>>,
  after: number | undefined,
  stop: AbortSignal,
): AsyncGenerator<StoredEntryView, void, undefined> {
  const silent = new AbortController()
  const alarm = setTimeout(() => silent.abort(), silenceMs)
  try {
    const path = `/v1/ledger/events?${new URLSearchParams(filter)}`
    const headers = { accept: 'text/event-stream', ...(after === undefined ? {} : { 'last-event-id': String(after) }) }
    const response = await openStream(to, { method: 'GET', path, headers }, AbortSignal.any([stop, silent.signal]))
    let text = ''
    const decoder = new TextDecoder()
    for await (const bytes of response.body ?? []) {
      alarm.refresh()
      text += decoder.decode(bytes, { stream: true })
      if (text.length > maxEventCharacters) throw new Error('sent too much')
      const blocks = text.split(/\r?\n\r?\n/)
      text = blocks.pop() ?? ''
      for (const block of blocks) yield* entryOf(block, to.url)
    }
  } catch (error) {
    if (stop.aborted) return
    throw error instanceof CommandError || error instanceof ProblemError ? error : new Unreachable(to.url, error)
  } finally {
    clearTimeout(alarm)
  }
}

/** The entry of one event; comments and events of other kinds have none. */
function* entryOf(block: string, url: string): Generator<StoredEntryView> {
  const lines = block.split(/\r?\n/)
  if (!lines.includes('event: entry')) return
  const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice('data: '.length))
  const parsed = storedEntrySchema.safeParse(parseJson(data.join('\n')))
  if (!parsed.success) throw new CommandError(exit.fault, `an event of ${url} is not what this version of writ reads`)
  yield parsed.data
}
