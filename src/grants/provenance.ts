import { bounded } from '../base/bounded.ts'
import type { RequestId } from '../base/ids.ts'
import { currentTraceId } from '../base/trace.ts'
import type { Identity } from '../identity/identity.ts'
import type { Actor } from '../ledger/entry.ts'

/** Who did something and how to find the request again; the fields every entry about it carries. */
export interface Provenance {
  readonly actor: Actor
  readonly request?: string | undefined
  readonly trace?: string | undefined
  readonly token?: string | undefined
  readonly policy?: string | undefined
  /** The key that the caller has proved it holds. */
  readonly jkt?: string | undefined
}

/** Provenance of something a verified caller did. */
export function byCaller(
  identity: Identity,
  who: { workload?: string; teams?: readonly string[] },
  request: RequestId,
): Provenance {
  const subject = bounded(identity.subject)
  const actor: Actor =
    who.workload === undefined
      ? { type: 'person', issuer: identity.issuer, subject, teams: [...(who.teams ?? [])] }
      : { type: 'workload', name: who.workload, issuer: identity.issuer, subject }
  return { actor, request, trace: currentTraceId(), token: identity.fingerprint }
}

/** Provenance of something the broker does of its own accord. */
export const byBroker = (reason: string): Provenance => ({ actor: { type: 'broker', reason } })
