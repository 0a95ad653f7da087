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
  /** The same for one that may say something else by now, such as another deadline: it is opened anew then. */
  restate(finding: Omit<Opened, 'kind'>): Promise<boolean>
  /** Records that it is over; true when it was open. */
  close(name: string, by: Provenance): Promise<boolean>
  /** Names of open findings that begin so. */
  named(prefix: string): readonly string[]
}

export function createFindings(ledger: Pick<Ledger, 'append'>): Findings {
  /** What each says. */
  const open = new Map<string, string>()

  async function record(finding: Omit<Opened, 'kind'>): Promise<true> {
    const before = open.get(finding.finding)
    // Before it is on record, so that nobody else records it too.
    open.set(finding.finding, finding.detail)
    try {
      await ledger.append({ ...finding, kind: 'finding.opened' })
      return true
    } catch (fault) {
      if (before === undefined) open.delete(finding.finding)
      else open.set(finding.finding, before)
      throw fault
    }
  }

  return {
    see({ entry }) {
      if (entry.kind === 'finding.opened') open.set(entry.finding, entry.detail)
      if (entry.kind === 'finding.closed') open.delete(entry.finding)
    },
    open: async (finding) => !open.has(finding.finding) && record(finding),
    restate: async (finding) => open.get(finding.finding) !== finding.detail && record(finding),
    async close(name, by) {
      const before = open.get(name)
      if (before === undefined) return false
      open.delete(name)
      try {
        await ledger.append({ ...by, kind: 'finding.closed', finding: name })
        return true
      } catch (fault) {
        open.set(name, before)
        throw fault
      }
    },
    named: (prefix) => [...open.keys()].filter((name) => name.startsWith(prefix)),
  }
}
