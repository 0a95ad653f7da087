import type { Clock, Timer } from '../../base/clock.ts'
import type { Result } from '../../base/result.ts'
import type { TextStream } from '../reply.ts'
import { createGate } from './gate.ts'

/** Why a stream has ended. */
export type StreamEnd = 'done' | 'gone' | 'stalled' | 'draining' | 'failed'

/** The streams that are open, of which there may be so many and no more. */
export interface Streams {
  /** Takes a place, or refuses with `draining`. It is given back by `leave`, or when the stream that is started has ended. */
  enter(): Result<undefined>
  leave(): void
  /**
   * Starts a stream in a place that was taken. `cut` closes the connection: the only way to be rid of a reader who does not take what
   * was sent. `onEnd` is told once, with what was thrown if the source failed.
   */
  start(
    source: TextStream,
    cut: () => void,
    onEnd: (end: StreamEnd, thrown?: unknown) => void,
  ): ReadableStream<Uint8Array>
}

/** Draining ends every stream at once: its reader can resume elsewhere. */
export function createStreams(options: {
  readonly clock: Clock
  readonly max: number
  readonly stallMs: number
  readonly draining: AbortSignal
}): Streams {
  const { clock, max, stallMs, draining } = options
  const gate = createGate(max, () => draining.aborted)
  const open = new Set<(end: StreamEnd) => void>()
  draining.addEventListener('abort', () => {
    for (const end of open) end('draining')
  })

  function start(source: TextStream, cut: () => void, onEnd: (end: StreamEnd, thrown?: unknown) => void) {
    const ended = new AbortController()
    const iterator = source(ended.signal)[Symbol.asyncIterator]()
    // Set while something was handed on and not taken yet.
    let untaken: Timer | undefined
    let gone = false

    function end(why: StreamEnd, thrown?: unknown): void {
      if (ended.signal.aborted) return
      ended.abort()
      open.delete(end)
      gate.leave()
      onEnd(why, thrown)
      if (untaken !== undefined) cut()
      untaken?.cancel()
      // A source that waits has heard of the end; one that was interrupted between two pieces has not.
      iterator.return?.().catch(() => {})
    }
    open.add(end)

    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          untaken?.cancel()
          untaken = undefined
          try {
            const next = await iterator.next()
            if (next.done !== true && !ended.signal.aborted) {
              controller.enqueue(Buffer.from(next.value))
              untaken = clock.after(stallMs, () => end('stalled'))
              return
            }
            end('done')
          } catch (thrown) {
            end('failed', thrown)
          }
          if (!gone) controller.close()
        },
        cancel() {
          gone = true
          end('gone')
        },
      },
      // Nothing is asked of the source before the reader can take it.
      { highWaterMark: 0 },
    )
  }

  return { enter: gate.enter, leave: gate.leave, start }
}
