import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { type SubjectEvent, streamEvents, subjectEvents } from '../../src/contract/signal.ts'
import { createVerifier } from '../../src/identity/verify.ts'
import { readEvent } from '../../src/signals/event.ts'
import { loadSet } from '../policy/organisation.ts'
import { fakeClock } from '../support/clock.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { signSet, withHub } from './stage.ts'

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())
const clock = fakeClock()
const second = Math.floor(clock.now() / 1000)

async function read(over: object, more = '') {
  const set = await loadSet(withHub(issuer, more))
  const verifier = createVerifier({ issuers: () => set.issuers, clock, log: silentLog })
  const verified = await verifier.verifySet(await signSet(issuer, clock, over))
  verifier.close()
  if (!verified.ok) throw new Error(JSON.stringify(verified.refusal))
  const event = readEvent(verified.value, clock.now())
  return event.ok ? event.value : event.refusal.code
}
const effectOf = async (name: SubjectEvent, payload: object) => {
  const event = await read({ events: { [subjectEvents[name]]: payload } })
  return typeof event === 'string' ? event : event.effect
}

describe('what each event does to its subject', () => {
  const cases: readonly [SubjectEvent, object, string][] = [
    ['session-revoked', {}, 'ended'],
    ['session-revoked', { initiating_entity: 'policy', reason_admin: { en: 'C076E822' } }, 'ended'],
    ['credential-change', { credential_type: 'x509', change_type: 'revoke' }, 'ended'],
    ['credential-change', { credential_type: 'fido2-roaming', change_type: 'delete' }, 'ended'],
    ['credential-change', { credential_type: 'password', change_type: 'create' }, 'recorded'],
    ['credential-change', { credential_type: 'password', change_type: 'update' }, 'recorded'],
    ['credential-change', { change_type: 'revoke' }, 'request_invalid'],
    ['credential-change', { credential_type: 'password', change_type: 'borrow' }, 'request_invalid'],
    [
      'assurance-level-change',
      { namespace: 'NIST-AAL', current_level: 'nist-aal1', change_direction: 'decrease' },
      'ended',
    ],
    [
      'assurance-level-change',
      { namespace: 'NIST-AAL', current_level: 'nist-aal2', change_direction: 'increase' },
      'recorded',
    ],
    // Nobody says which way it went.
    ['assurance-level-change', { namespace: 'NIST-AAL', current_level: 'nist-aal2' }, 'ended'],
    ['assurance-level-change', {}, 'request_invalid'],
    ['device-compliance-change', { previous_status: 'compliant', current_status: 'not-compliant' }, 'ended'],
    ['device-compliance-change', { previous_status: 'not-compliant', current_status: 'compliant' }, 'recorded'],
    ['device-compliance-change', { current_status: 'fine' }, 'request_invalid'],
    ['account-disabled', { reason: 'hijacking' }, 'disabled'],
    ['account-purged', {}, 'disabled'],
    ['account-enabled', {}, 'enabled'],
    ['identifier-changed', { 'new-value': 'john@example.org' }, 'renamed'],
  ]
  test.each(cases)('%s %j: %s', async (name, payload, effect) => {
    expect(await effectOf(name, payload)).toBe(effect)
  })
})

test('there is exactly one event, of a type that the Issuer lists', async () => {
  const [one, two] = [subjectEvents['session-revoked'], subjectEvents['account-disabled']]
  expect(await read({ events: { [one]: {}, [two]: {} } })).toBe('request_invalid')
  expect(await read({ events: {} })).toBe('request_invalid')
  expect(await read({ events: undefined })).toBe('request_invalid')
  expect(await read({ events: [one] })).toBe('request_invalid')
  expect(await read({ events: { [one]: 'yes' } })).toBe('request_invalid')
  expect(await read({ events: { 'https://example.com/else': {} } })).toBe('role_required')
  expect(await read({ events: { [one]: {} } }, ', events: [account-disabled]')).toBe('role_required')
  // What is said of the stream itself needs no leave.
  for (const type of Object.values(streamEvents)) {
    expect(await read({ events: { [type]: {} } }, ', events: [account-disabled]')).toMatchObject({ effect: 'recorded' })
  }
})

test('the event happened when it says, at the latest now, and a whole second counts to its end', async () => {
  const at = async (payload: object, over: object = {}) => {
    const event = await read({ events: { [subjectEvents['session-revoked']]: payload }, ...over })
    return typeof event === 'string' ? event : event.beforeMs - second * 1000
  }
  expect(await at({ event_timestamp: second - 60 })).toBe(-59_000)
  expect(await at({ event_timestamp: second - 60.25 })).toBe(-60_250)
  expect(await at({}, { toe: second - 30 })).toBe(-29_000)
  expect(await at({}, { iat: second - 10 })).toBe(-9_000)
  // Within the leeway of clocks, and no further.
  expect(await at({ event_timestamp: second + 20 })).toBe(1)
  expect(await at({ event_timestamp: second + 40 })).toBe('request_invalid')
  expect(await at({ event_timestamp: second * 1000 })).toBe('request_invalid')
  expect(await at({ event_timestamp: '1' })).toBe('request_invalid')
  expect(await at({ event_timestamp: -1 })).toBe('request_invalid')
})
