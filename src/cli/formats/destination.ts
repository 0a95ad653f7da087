import type { IssuedAnswer } from '../obtain.ts'

/** Where a credential goes. */
export interface Destination {
  /** @throws CommandError when it does not fit there */
  deliver(issued: IssuedAnswer): Promise<void>
  /** Leaves nothing behind but what was delivered. */
  close(): Promise<void>
}
