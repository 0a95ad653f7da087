import type { Clock } from '../base/clock.ts'
import type { EntryFeed } from '../broker/record.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import { entryView } from '../ledger/search/query.ts'
import type { TextStream } from './reply.ts'

/** Characters handed on together, unless one event has more. */
const pieceCharacters = 64 * 1024

/**
 * Ledger entries as server-sent events. The index of an entry is its `id`, so that a client that connects again says where it
 * was. A comment every `beatMs` shows proxies and clients that the connection is alive.
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function createEventStreams(clock: Clock, beatMs: number): (feed: EntryFeed) => TextStream {
  // An entry is written once, however many read along.
  const written = new WeakMap<StoredEntry, string>()

  function eventOf(stored: StoredEntry): string {
    const known = written.get(stored)
    if (known !== undefined) return known
    const text = `id: ${stored.index}\nevent: entry\ndata: ${JSON.stringify(entryView(stored))}\n\n`
    written.set(stored, text)
    return text
  }

  return (feed) =>
    async function* (ended) {
      // Sent at once: the client knows that it is heard, and how long to wait before it connects again.
      yield 'retry: 2000\n\n'
      const batches = feed(ended)[Symbol.asyncIterator]()
      try {
        for (let next = batches.next(); ; ) {
          const batch = await nextOrBeat(next, clock, beatMs)
          if (batch === 'beat') {
            yield ':\n\n'
            continue
          }
          if (batch.done === true) return
          yield* pieces(batch.value.map(eventOf))
          next = batches.next()
        }
      } finally {
        await batches.return?.()
      }
    }
}

/** The next batch, or `beat` when there is none for that long; it is still to come then. */
function nextOrBeat<T>(next: Promise<T>, clock: Clock, beatMs: number): Promise<T | 'beat'> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(beatMs, () => resolve('beat'))
    next.then(resolve, reject).finally(() => timer.cancel())
  })
}

/** Joins texts, but no more at a time than a connection should have to hold. */
function* pieces(texts: readonly string[]): Generator<string> {
  let piece = ''
  for (const text of texts) {
    piece += text
    if (piece.length < pieceCharacters) continue
    yield piece
    piece = ''
  }
  if (piece !== '') yield piece
}
