import type { EntryBody } from '../ledger/entry.ts'
import type { Ledger, StoredEntry } from '../ledger/ledger.ts'
import type { Provenance } from './provenance.ts'

type Opened = Extract<EntryBody, { kind: 'finding.opened' }>

/** What the ledger holds as open findings, so that each is opened once, and closed when it is gone, also across restarts. */
export interface Findings {
  /** Must be shown every entry that still matters at the start, and each new one. */
  see(stored: StoredEntry): void
  /** Records the finding unless it is open already; true when it was not. */
  open(finding: Omit<Opened, 'kind'>): Promise<boolean>
  /** Records that it is over; true when it was open. */
  close(name: string, by: Provenance): Promise<boolean>
  /** Names of open findings that begin so. */
  named(prefix: string): readonly string[]
}

export function createFindings(ledger: Pick<Ledger, 'append'>): Findings {
  const open = new Set<string>()
  return {
    see({ entry }) {
      if (entry.kind === 'finding.opened') open.add(entry.finding)
      if (entry.kind === 'finding.closed') open.delete(entry.finding)
    },
    async open(finding) {
      if (open.has(finding.finding)) return false
      // Before it is on record, so that nobody else records it too.
      open.add(finding.finding)
      try {
        await ledger.append({ ...finding, kind: 'finding.opened' })
        return true
      } catch (fault) {
        open.delete(finding.finding)
        throw fault
      }
    },
    async close(name, by) {
      if (!open.delete(name)) return false
      try {
        await ledger.append({ ...by, kind: 'finding.closed', finding: name })
        return true
      } catch (fault) {
        open.add(name)
        throw fault
      }
    },
    named: (prefix) => [...open].filter((name) => name.startsWith(prefix)),
  }
}
