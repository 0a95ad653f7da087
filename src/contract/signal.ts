import { z } from 'zod'

const caep = 'https://schemas.openid.net/secevent/caep/event-type/'
const risc = 'https://schemas.openid.net/secevent/risc/event-type/'
const ssf = 'https://schemas.openid.net/secevent/ssf/event-type/'

/** What a transmitter may tell of a subject, and the event type that says so (CAEP 1.0 section 3, RISC 1.0 section 2). */
export const subjectEvents = {
  'session-revoked': `${caep}session-revoked`,
  'credential-change': `${caep}credential-change`,
  'assurance-level-change': `${caep}assurance-level-change`,
  'device-compliance-change': `${caep}device-compliance-change`,
  'account-disabled': `${risc}account-disabled`,
  'account-enabled': `${risc}account-enabled`,
  'account-purged': `${risc}account-purged`,
  'identifier-changed': `${risc}identifier-changed`,
} as const

/** What a transmitter says of its own stream (SSF 1.0 section 8.1); any transmitter may. */
export const streamEvents = {
  verification: `${ssf}verification`,
  'stream-updated': `${ssf}stream-updated`,
} as const

/** An event by the name that policies, entries and metrics use: the last part of its type. */
export type SubjectEvent = keyof typeof subjectEvents
export type SignalName = SubjectEvent | keyof typeof streamEvents

/** Every name of `subjectEvents`, for schemas and options. */
export const subjectEventNames = Object.keys(subjectEvents) as [SubjectEvent, ...SubjectEvent[]]

/** The media type of a SET (RFC 8417 section 2.3); its `typ` is the same without `application/`. */
export const setMediaType = 'application/secevent+jwt'
/** Where SETs are pushed to. */
export const signalPath = '/v1/signals/events'

/** Why a SET was not taken (RFC 8935 section 2.4). */
export const setErrorSchema = z
  .strictObject({
    err: z.enum([
      'invalid_request',
      'invalid_key',
      'invalid_issuer',
      'invalid_audience',
      'authentication_failed',
      'access_denied',
    ]),
    description: z.string().max(500),
  })
  .meta({ id: 'SetError', description: 'Why a security event token was not taken (RFC 8935 section 2.4)' })

export type SetError = z.infer<typeof setErrorSchema>
