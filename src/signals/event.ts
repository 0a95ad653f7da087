import { ok, type Result, refuse } from '../base/result.ts'
import { type SignalName, streamEvents, subjectEvents } from '../contract/signal.ts'
import type { Claim, Claims } from '../identity/identity.ts'
import type { SignedSet } from '../identity/set.ts'

/** What a signal does to its subject; the words of the entry `signal.received`. */
export type Effect = 'recorded' | 'ended' | 'disabled' | 'enabled' | 'renamed'

/** The one event of a SET, in our words. */
export interface SignalEvent {
  readonly name: SignalName
  readonly effect: Effect
  /** What was issued before this moment (ms since the epoch) is what the event speaks of. */
  readonly beforeMs: number
}

const names: ReadonlyMap<string, SignalName> = new Map(
  Object.entries({ ...subjectEvents, ...streamEvents }).map(([name, type]) => [type, name as SignalName]),
)
const isStreamEvent = (name: SignalName): name is keyof typeof streamEvents => Object.hasOwn(streamEvents, name)

/**
 * The event of a SET: exactly one, of a type that its Issuer may send, with a payload that conforms to the definition of that type.
 * Refuses `request_invalid` for what is not an event, `role_required` for a type that the issuer may not send.
 */
export function readEvent({ claims, signals, issuedAtMs, leewayMs }: SignedSet, nowMs: number): Result<SignalEvent> {
  const { events } = claims
  const [event, ...more] = isObject(events) ? Object.entries(events) : []
  // One event for one SET is what SSF 1.0 section 4.1.3 recommends and the CAEP interoperability profile demands.
  if (event === undefined || more.length > 0)
    return refuse('request_invalid', 'events', 'there is not exactly one event')
  const [type, payload] = event
  if (!isObject(payload)) return refuse('request_invalid', 'events', 'the event is not an object')
  const name = names.get(type)
  if (name === undefined) return refuse('role_required', 'events', 'an event of a type that no Issuer may send')
  if (!isStreamEvent(name) && !signals.events.includes(name)) {
    return refuse('role_required', 'events', `the Issuer does not list ${name}`)
  }
  const beforeMs = endOfMoment(payload.event_timestamp ?? claims.toe, issuedAtMs)
  if (beforeMs === undefined || beforeMs > nowMs + leewayMs + 1000) {
    return refuse('request_invalid', 'event_timestamp', 'not a time (seconds), or one that is still to come')
  }
  const effect = effectOf(name, payload)
  return effect === undefined
    ? refuse('request_invalid', 'events', `the payload is not that of ${name}`)
    : ok({ name, effect, beforeMs: Math.min(beforeMs, nowMs + 1) })
}

/**
 * When the event happened: `event_timestamp` (CAEP 1.0 section 2), else `toe` (RFC 8417 section 2.2), else when the SET was issued.
 * A time in whole seconds stands for the end of its second: what was issued within it may well have been issued before.
 */
function endOfMoment(given: Claim | undefined, issuedAtMs: number): number | undefined {
  const ms = given === undefined ? issuedAtMs : typeof given === 'number' && given >= 0 ? given * 1000 : undefined
  if (ms === undefined || ms > 1e14) return undefined
  return ms % 1000 === 0 ? ms + 1000 : Math.floor(ms)
}

/** `undefined` for a payload that lacks what its definition requires. What is left open is read as the worse of its meanings. */
function effectOf(name: SignalName, payload: Claims): Effect | undefined {
  switch (name) {
    case 'session-revoked':
      return 'ended'
    case 'credential-change': {
      const { change_type: change, credential_type: type } = payload
      if (typeof type !== 'string') return undefined
      if (change === 'create' || change === 'update') return 'recorded'
      return change === 'revoke' || change === 'delete' ? 'ended' : undefined
    }
    case 'assurance-level-change': {
      const { current_level: level, change_direction: direction } = payload
      if (typeof level !== 'string') return undefined
      if (direction === 'increase') return 'recorded'
      return direction === 'decrease' || direction === undefined ? 'ended' : undefined
    }
    case 'device-compliance-change': {
      const { current_status: status } = payload
      if (status === 'compliant') return 'recorded'
      return status === 'not-compliant' ? 'ended' : undefined
    }
    case 'account-disabled':
    case 'account-purged':
      return 'disabled'
    case 'account-enabled':
      return 'enabled'
    case 'identifier-changed':
      return 'renamed'
    case 'verification':
    case 'stream-updated':
      return 'recorded'
  }
}

/** Whether the value is a JSON object. */
export const isObject = (value: Claim | undefined): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
