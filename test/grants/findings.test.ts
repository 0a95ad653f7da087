import { expect, test } from 'vitest'
import { createFindings } from '../../src/grants/findings.ts'
import { byBroker } from '../../src/grants/provenance.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'

const by = byBroker('test')
const finding = { ...by, finding: 'owner-left-checkout', severity: 'critical', detail: 'until Monday' } as const

test('a finding is opened once, anew when it says something else, and closed once, also by a book that was shown the record', () =>
  withFolder(async (dir) => {
    const ledger = await openTestLedger(dir)
    const first = createFindings(ledger)
    expect(await first.open(finding)).toBe(true)
    expect(await first.open({ ...finding, detail: 'until Tuesday' })).toBe(false)
    expect(await first.restate(finding)).toBe(false)
    expect(await first.restate({ ...finding, detail: 'until Tuesday' })).toBe(true)
    const second = createFindings(ledger)
    for (const stored of await collect(ledger.read(0))) second.see(stored)
    expect(second.named('owner-left-')).toEqual(['owner-left-checkout'])
    expect(second.named('member-left-')).toEqual([])
    expect(await second.restate({ ...finding, detail: 'until Tuesday' })).toBe(false)
    expect(await second.close(finding.finding, by)).toBe(true)
    expect(await second.close(finding.finding, by)).toBe(false)
    expect((await collect(ledger.read(0))).map(({ entry }) => entry.kind)).toEqual([
      'finding.opened',
      'finding.opened',
      'finding.closed',
    ])
    await ledger.close()
  }))

test('one that could not be recorded is as before', () =>
  withFolder(async (dir) => {
    const ledger = await openTestLedger(dir)
    const findings = createFindings(ledger)
    await findings.open(finding)
    await ledger.close()
    await expect(findings.restate({ ...finding, detail: 'until Tuesday' })).rejects.toThrow()
    await expect(findings.close(finding.finding, by)).rejects.toThrow()
    expect(findings.named('')).toEqual(['owner-left-checkout'])
    await expect(findings.open({ ...finding, finding: 'another' })).rejects.toThrow()
    expect(findings.named('')).toEqual(['owner-left-checkout'])
  }))
