import { randomUUID } from 'node:crypto'
import { type SignalName, streamEvents, subjectEvents } from '../contract/signal.ts'
import type { Claims } from '../identity/identity.ts'

/** A signal to be signed, for trying a receiver out. */
export interface SetOrder {
  readonly event: SignalName
  /** The transmitter's `iss`. */
  readonly iss: string
  readonly audience: string
  /** Whom it is about; absent for events about the stream. */
  readonly subject?: { readonly iss: string; readonly sub: string }
  /** Laid over a payload that conforms to the event. */
  readonly payload?: Claims
  readonly nowMs: number
}

/** Payloads that take trust away, where an event has more than one meaning. */
const payloads: Partial<Record<SignalName, Claims>> = {
  'credential-change': { credential_type: 'app', change_type: 'revoke' },
  'assurance-level-change': { namespace: 'NIST-AAL', current_level: 'nist-aal1', change_direction: 'decrease' },
  'device-compliance-change': { previous_status: 'compliant', current_status: 'not-compliant' },
  'stream-updated': { status: 'enabled' },
}

/** The claims of a SET as SSF 1.0 section 4.1 has them: one event, `sub_id`, neither `sub` nor `exp`. */
export function composeSet({ event, iss, audience, subject, payload, nowMs }: SetOrder): Record<string, unknown> {
  const seconds = Math.floor(nowMs / 1000)
  const sub_id =
    subject === undefined
      ? { format: 'opaque', id: 'writ-signal' }
      : { format: 'iss_sub', iss: subject.iss, sub: subject.sub }
  const content = { ...payloads[event], ...(subject === undefined ? {} : { event_timestamp: seconds }), ...payload }
  const type = { ...subjectEvents, ...streamEvents }[event]
  return { iss, aud: audience, iat: seconds, jti: randomUUID(), sub_id, events: { [type]: content } }
}
