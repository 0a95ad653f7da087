import type { GrantId } from '../base/ids.ts'

/**
 * Text that comes bit by bit, for as long as the connection lasts or the source has something to say. Aborting `ended` ends the
 * source; what it holds is let go of before the iterator is done.
 */
export type TextStream = (ended: AbortSignal) => AsyncIterable<string>

/** An answer before it becomes a response: a body of one media type, and headers beyond the common ones. */
export interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string | Uint8Array | TextStream
  readonly headers?: Readonly<Record<string, string>>
  /** The grants whose secrets this answer carries: if it cannot be delivered they must end. */
  readonly carries?: readonly GrantId[]
}

/** A JSON answer. */
export const jsonReply = (status: number, body: unknown): Reply => ({
  status,
  type: 'application/json',
  body: JSON.stringify(body),
})
