import { describe, expect, it } from 'vitest'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { grantOf, intentEntry, issuedEntry, loadedEntry, renewedEntry, stampedEntry } from '../../support/entries.ts'
import { withFolder } from '../../support/ledger.ts'
import { verifyDir } from '../../support/log-folder.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'

interface Ceiling {
  readonly name: string
  readonly seconds: number
}
const purpose = (seconds: number): Ceiling => ({ name: 'purpose', seconds })
const at = (second: number): string => new Date(Date.UTC(2026, 10, 22, 12, 0, second)).toISOString()
const intent = (...ceilings: Ceiling[]): EntryBody => ({ ...intentEntry(1), ceilings }) as EntryBody
const issued = (expires: string | undefined, ...ceilings: Ceiling[]): EntryBody =>
  ({ ...issuedEntry(1), expires, ceilings }) as EntryBody
const renewed = (expires: string, ...ceilings: Ceiling[]): EntryBody =>
  ({ ...renewedEntry(1), expires, ceilings }) as EntryBody

/** Indexes of the entries that are wrong; entry n is of second n. */
const wrongIn = (bodies: readonly EntryBody[]): Promise<(number | undefined)[]> =>
  withFolder(async (dir) => {
    await writeRawLedger(
      dir,
      [loadedEntry, ...bodies].map((body, n) => stampedEntry(body, n)),
    )
    const { problems } = await verifyDir(dir)
    expect(
      problems.every(({ rule, message }) => rule === 'meaning' && /ceilings allow nothing after/.test(message)),
    ).toBe(true)
    return problems.map(({ index }) => index)
  })

// The intent is of second 1, the issuance of second 2, the renewal of second 3.
describe('nothing outlives its ceilings', () => {
  it.each<[string, readonly EntryBody[]]>([
    ['an issuance that ends with its ceiling', [intent(purpose(60)), issued(at(62))]],
    ['one that ends within the second to which Vault rounds', [intent(purpose(60)), issued(at(63))]],
    ['one without an end where nothing bounds it', [intent(), issued(undefined)]],
    ['a renewal within what is left of the whole life', [intent(purpose(60)), issued(at(30)), renewed(at(62))]],
    [
      'a renewal beyond what the first request asked for',
      [intent(purpose(600), { name: 'request', seconds: 20 }), issued(at(22)), renewed(at(400))],
    ],
    [
      'a renewal as long as its own ceilings',
      [intent(), issued(at(10)), renewed(at(63), { name: 'task', seconds: 60 })],
    ],
  ])('passes %s', async (_, bodies) => expect(await wrongIn(bodies)).toEqual([]))

  it.each<[string, readonly EntryBody[], number]>([
    ['an issuance past the ceiling of its intent', [intent(purpose(60)), issued(at(64))], 2],
    ['the smallest ceiling counts', [intent(purpose(60), { name: 'task', seconds: 10 }), issued(at(14))], 2],
    [
      'a ceiling that only the issuance names',
      [intent(purpose(600)), issued(at(64), { name: 'lease', seconds: 60 })],
      2,
    ],
    ['an issuance without an end under a ceiling', [intent(purpose(60)), issued(undefined)], 2],
    ['a renewal past what is left since issuance', [intent(purpose(60)), issued(at(62)), renewed(at(64))], 3],
    ['a renewal past its own ceilings', [intent(), issued(at(10)), renewed(at(65), purpose(60))], 3],
    [
      'a renewal past what it was asked for',
      [intent(), issued(at(10)), renewed(at(65), { name: 'request', seconds: 60 })],
      3,
    ],
    ['the second of two renewals', [intent(purpose(60)), issued(at(30)), renewed(at(62)), renewed(at(64))], 4],
  ])('names %s', async (_, bodies, index) => expect(await wrongIn(bodies)).toEqual([index]))

  it('follows each of many grants on its own', async () => {
    const bodies = Array.from({ length: 200 }, (_, n): EntryBody[] => [
      { ...intent(purpose(n === 150 ? 5 : 3600)), grant: grantOf(n) } as EntryBody,
      { ...issued(at(600)), grant: grantOf(n) } as EntryBody,
    ])
    expect(await wrongIn(bodies.flat())).toEqual([302])
  })
})
