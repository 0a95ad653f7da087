import { expect, test } from 'vitest'
import { newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { createFindings } from '../../src/grants/findings.ts'
import { createUnrotated } from '../../src/grants/unrotated.ts'
import type { Entry, EntryBody } from '../../src/ledger/entry.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { base, edit, loadSet } from '../policy/organisation.ts'
import { fakeClock } from '../support/clock.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'

const dayMs = 86_400_000
const rotatedMs = Date.UTC(2026, 10, 22)

/** As the broker records the issuance of a key/value secret. */
const handedOut = (version: number, atMs: number): EntryBody => ({
  actor: { type: 'workload', name: 'checkout', issuer: 'cluster-eu', subject: 's' },
  kind: 'grant.issued',
  workload: 'checkout',
  owner: 'payments',
  credential: 'key',
  grant: newId('gr', atMs),
  data: [],
  sensitivity: 'low',
  ceilings: [],
  ids: [{ type: 'kv_version', value: `secret/vendor/key@${version}` }],
  renewable: false,
  revocable: false,
  static: true,
  rotation: { rotated_at: new Date(atMs).toISOString() },
})

/** A look-out that was shown the whole record, or only the entries that a restart reads. */
async function lookOut(ledger: Ledger, clock: ReturnType<typeof fakeClock>, files = base, only?: readonly number[]) {
  const set = await loadSet(files)
  const findings = createFindings(ledger)
  const unrotated = createUnrotated({ findings, policies: () => set, clock, log: silentLog })
  const stored = await collect(ledger.read(0))
  const isFinding = ({ kind }: Entry): boolean => kind === 'finding.opened' || kind === 'finding.closed'
  for (const one of stored) {
    if (isFinding(one.entry)) findings.see(one)
    if (only === undefined || only.includes(one.index)) unrotated.see(one)
  }
  ledger.subscribe((one) => {
    findings.see(one)
    unrotated.see(one)
  })
  return unrotated
}

const recorded = async (ledger: Ledger) => (await collect(ledger.read(0))).map(({ entry }) => entry)

test('a value that stands longer than its Credential allows is one finding with its days and whom to ask, until a newer one is handed out', () =>
  withFolder(async (dir) => {
    const clock = fakeClock(rotatedMs)
    const ledger = await openTestLedger(dir, { clock })
    const unrotated = await lookOut(ledger, clock)
    await ledger.append(handedOut(1, rotatedMs))
    await clock.advance(90 * dayMs)
    await unrotated.once()
    expect((await recorded(ledger)).length).toBe(1)
    await clock.advance(1)
    await unrotated.once()
    await unrotated.once()
    const [, opened, ...more] = await recorded(ledger)
    expect(more).toEqual([])
    expect(opened).toMatchObject({
      kind: 'finding.opened',
      finding: 'static-unrotated-key',
      severity: 'warning',
      credential: 'key',
      workload: 'checkout',
      owner: 'payments',
      detail:
        'secret/vendor/key@1 has stood unrotated since 2026-11-22T00:00:00.000Z, for 90 days or more, and may for 90; ask payments, whose checkout got it last',
    })
    await clock.advance(8 * dayMs)
    await unrotated.once()
    expect((await recorded(ledger)).at(-1)).toMatchObject({ detail: expect.stringContaining('for 97 days or more') })

    const later = await lookOut(ledger, clock, base, unrotated.list())
    await later.once()
    expect((await recorded(ledger)).length).toBe(3)
    await ledger.append(handedOut(2, clock.now()))
    await later.once()
    expect((await recorded(ledger)).slice(-1)).toMatchObject([
      { kind: 'finding.closed', finding: 'static-unrotated-key' },
    ])
    await ledger.close()
  }))

test('the Credential says for how long, and a finding goes with its Credential', () =>
  withFolder(async (dir) => {
    const clock = fakeClock(rotatedMs)
    const ledger = await openTestLedger(dir, { clock })
    await ledger.append(handedOut(1, rotatedMs))
    await clock.advance(8 * dayMs)
    const weekly = edit('credentials.yaml', 'path: vendor/key\n', 'path: vendor/key\nrotate_every: 7d\n')
    await (await lookOut(ledger, clock, weekly)).once()
    expect((await recorded(ledger)).at(-1)).toMatchObject({ detail: expect.stringContaining('and may for 7;') })
    const gone = edit('credentials.yaml', 'name: key', 'name: another', edit('workload.yaml', '[key]', '[another]'))
    await (await lookOut(ledger, clock, gone)).once()
    expect((await recorded(ledger)).at(-1)).toMatchObject({ kind: 'finding.closed' })
    await ledger.close()
  }))
