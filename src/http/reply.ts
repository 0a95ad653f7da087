import type { GrantId } from '../base/ids.ts'

/** An answer before it becomes a response: text of one media type, and headers beyond the common ones. */
export interface Reply {
  readonly status: number
  readonly type: string
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
  /** The grant whose secret this answer carries: if it cannot be delivered the grant must end. */
  readonly carries?: GrantId
}

/** A JSON answer. */
export const jsonReply = (status: number, body: unknown): Reply => ({
  status,
  type: 'application/json',
  text: JSON.stringify(body),
})
