import type { IssuedCredential } from '../../contract/credential.ts'

/** Where a credential goes. */
export interface Destination {
  /** @throws CommandError when it does not fit there */
  deliver(issued: IssuedCredential): Promise<void>
  /** Leaves nothing behind but what was delivered. */
  close(): Promise<void>
}
