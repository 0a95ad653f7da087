import { expect, onTestFinished, test } from 'vitest'
import type { Claims } from '../../src/identity/identity.ts'
import { readSubject } from '../../src/signals/identifier.ts'
import { matchSubjects, subjectKey } from '../../src/signals/subject.ts'
import { loadSet } from '../policy/organisation.ts'
import { startIssuer } from '../support/issuer.ts'
import { base, checkoutSub, clusterUrl, edit, withHub } from './stage.ts'

const hubUrl = 'https://hub.example.com'

/** `issuer/subject` of everybody the claims name, and how many of them the policies know. */
async function named(claims: Claims, files = base): Promise<string> {
  const issuer = await startIssuer()
  onTestFinished(() => issuer.close())
  const set = await loadSet(withHub(issuer, '', files))
  const hub = set.byName.issuer.get('hub')?.policy
  if (hub === undefined) throw new Error('no hub')
  const read = readSubject({ iss: hub.url, ...claims })
  if (!read.ok) return read.refusal.code
  const matched = matchSubjects(set, hub, read.value)
  if (!matched.ok) return matched.refusal.code
  return `${matched.value.subjects.map(subjectKey).join(' ')} (${matched.value.count})`
}
const issSub = (sub: string, iss = clusterUrl): Claims => ({ format: 'iss_sub', iss, sub })

test('an identifier names a member, a workload by its exact sub, or somebody the policies do not know yet', async () => {
  expect(await named({ sub_id: issSub('alice') })).toBe('cluster-eu/alice (1)')
  expect(await named({ sub_id: issSub(checkoutSub) })).toBe(`cluster-eu/${checkoutSub} (1)`)
  expect(await named({ sub_id: issSub('nobody') })).toBe('cluster-eu/nobody (0)')
  expect(await named({ sub_id: issSub('Alice') })).toBe('cluster-eu/Alice (0)')
  expect(await named({ sub_id: issSub('alice', 'https://elsewhere.example') })).toBe(' (0)')
})

test('a name without an issuer is compared byte for byte, within the issuers that are spoken for', async () => {
  const mail = edit('teams.yaml', 'subject: alice', 'subject: alice@example.com')
  expect(await named({ sub_id: { format: 'email', email: 'alice@example.com' } }, mail)).toBe(
    'cluster-eu/alice@example.com (1)',
  )
  expect(await named({ sub_id: { format: 'email', email: 'ALICE@example.com' } }, mail)).toBe(' (0)')
  expect(await named({ sub_id: { format: 'account', uri: 'acct:alice@example.com' } }, mail)).toBe(
    'cluster-eu/alice@example.com (1)',
  )
  expect(await named({ sub_id: { format: 'opaque', id: 'bob' } })).toBe('cluster-eu/bob (1)')
  expect(await named({ sub_id: { format: 'uri', uri: checkoutSub } })).toBe(`cluster-eu/${checkoutSub} (1)`)
  expect(await named({ sub_id: { format: 'phone_number', phone_number: '+12065550100' } })).toBe(' (0)')
  // A format of tomorrow names nobody and harms nobody.
  expect(await named({ sub_id: { format: 'passport', number: '1' } })).toBe(' (0)')
})

test('aliases and complex subjects name everybody in them', async () => {
  const both = { format: 'aliases', identifiers: [issSub('alice'), { format: 'opaque', id: 'bob' }] }
  expect(await named({ sub_id: both })).toBe('cluster-eu/alice cluster-eu/bob (2)')
  const complex = { format: 'complex', user: issSub('alice'), session: { format: 'opaque', id: 'bob' } }
  expect(await named({ sub_id: complex })).toBe('cluster-eu/alice (1)')
  expect(await named({ sub_id: { format: 'complex', device: issSub(checkoutSub) } })).toBe(
    `cluster-eu/${checkoutSub} (1)`,
  )
  expect(await named({ sub_id: { format: 'complex', tenant: { format: 'opaque', id: 'acme' } } })).toBe(' (0)')
})

test('an issuer speaks for nobody it is not declared to speak for', async () => {
  const other = {
    ...base,
    'other.yaml': (base['issuer.yaml'] ?? '').replace('cluster-eu', 'other').replace(clusterUrl, hubUrl),
  }
  expect(await named({ sub_id: issSub('alice', hubUrl) }, other)).toBe('role_required')
  const mixed = { format: 'aliases', identifiers: [issSub('alice', hubUrl), issSub('bob')] }
  expect(await named({ sub_id: mixed }, other)).toBe('cluster-eu/bob (1)')
  const members = edit(
    'teams.yaml',
    '{ issuer: cluster-eu, subject: alice }',
    '{ issuer: other, subject: alice }',
    other,
  )
  expect(await named({ sub_id: { format: 'opaque', id: 'alice' } }, members)).toBe(' (0)')
})

test('what is no identifier is refused', async () => {
  const wrong: readonly Claims[] = [
    {},
    { sub_id: 'alice' },
    { sub_id: null },
    { sub_id: {} },
    { sub_id: { format: 'email' } },
    { sub_id: { format: 'iss_sub', sub: 'alice' } },
    { sub_id: { format: 'opaque', id: 7 } },
    { sub_id: { format: 'opaque', id: '' } },
    { sub_id: { format: 'opaque', id: 'x'.repeat(513) } },
    { sub_id: { format: 'aliases', identifiers: 'alice' } },
    { sub_id: { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [] }] } },
    { sub_id: { format: 'aliases', identifiers: Array.from({ length: 21 }, () => issSub('alice')) } },
    { sub_id: { format: 'complex', user: 'alice' } },
    { sub_id: issSub('alice'), sub: 'bob' },
    { sub: 7 },
  ]
  for (const claims of wrong) expect(await named(claims), JSON.stringify(claims)).toBe('request_invalid')
})

test('the sub of RFC 8417 is a name of the issuer of the SET itself', async () => {
  expect(await named({ sub: 'alice' })).toBe('role_required')
})
