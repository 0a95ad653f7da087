import type { CompositeId, RequestId } from '../base/ids.ts'
import type { Secret } from '../base/secret.ts'
import type { IssuedCredential, PendingApproval } from '../contract/credential.ts'
import type { SentProof } from '../identity/proof.ts'

/** Who calls, before anything about them is known. `token` is attacker-controlled. */
export interface Caller {
  readonly token: string
  readonly requestId: RequestId
  readonly ip: string
  /** What it says about a key it holds; absent where it says nothing. */
  readonly proof?: SentProof
}

/** A minted credential on its way out: everything but the secret may be logged. */
export interface Issued {
  readonly status: 'issued'
  readonly body: Omit<IssuedCredential, 'secret'>
  readonly secret: Secret<Readonly<Record<string, unknown>>>
}

/** The credentials of a set, in the order in which they were asked for. */
export interface IssuedSet {
  readonly status: 'issued_set'
  readonly composite: CompositeId
  readonly credentials: readonly Issued[]
}

/** A person must say yes first. */
export interface Pending {
  readonly status: 'pending'
  readonly body: PendingApproval
}
