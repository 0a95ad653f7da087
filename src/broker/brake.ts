import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { timeText } from '../contract/fields.ts'
import type { HeldChange } from '../contract/policy.ts'
import { heldFinding } from '../grants/open-entries.ts'
import { byBroker, type Provenance } from '../grants/provenance.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'

/** How much one change of the policies may end before an operator is asked. */
export interface BrakeLimits {
  /** Share of the live grants, in percent; with 100 nothing is ever held. */
  readonly percent: number
  /** Fewer ends than this are never held. */
  readonly least: number
}

/**
 * Holds back what a change of the policies would end when that is too much of what is live, until an operator accepts it or another
 * change makes it less. What is held and what was accepted is derived from the ledger, so a restart asks no second time.
 */
export interface Brake {
  /** Whether that many ends under the set with that digest must wait. */
  holdsBack(digest: string, ends: number, live: number): boolean
  /** Puts the hold on record, once for each set, and shows it from now on. */
  hold(change: Omit<HeldChange, 'since'>): Promise<void>
  /** Nothing waits any more. */
  release(): Promise<void>
  /** Puts on record that somebody accepts the ends under that set. */
  accept(digest: string, ends: number, by: Provenance): Promise<void>
  held(): HeldChange | undefined
  /** Must be shown every entry, or those of a restart. */
  see(stored: { readonly entry: Entry }): void
}

const finding = heldFinding

export function createBrake({ limits, ledger, clock, log }: Deps): Brake {
  let held: HeldChange | undefined
  // As the record has it: the set for which a hold stands, since when, and the set in force that was accepted.
  let recorded: { readonly digest: string | undefined; readonly since: string } | undefined
  let accepted: string | undefined

  return {
    holdsBack: (digest, ends, live) =>
      digest !== accepted && ends >= limits.least && ends * 100 > live * limits.percent,
    async hold(change) {
      const { digest, live, would_end } = change
      if (recorded?.digest !== digest) {
        const by = { ...byBroker('policies'), policy: digest }
        await ledger.append({ ...by, kind: 'policy.held', live, would_end })
        await ledger.append({
          ...by,
          kind: 'finding.opened',
          finding,
          severity: 'critical',
          detail: `the policies would end ${would_end} of ${live} live grants; to let them: writ policy accept ${digest}`,
        })
      }
      held = { ...change, since: recorded?.since ?? timeText(clock.now()) }
      log.error({ digest, live, would_end }, 'policy.held')
    },
    async release() {
      held = undefined
      if (recorded !== undefined) await ledger.append({ ...byBroker('policies'), kind: 'finding.closed', finding })
    },
    async accept(digest, would_end, by) {
      await ledger.append({ ...by, policy: digest, kind: 'policy.accepted', would_end })
    },
    held: () => held,
    see({ entry }) {
      switch (entry.kind) {
        case 'policy.loaded':
          if (entry.policy !== accepted) accepted = undefined
          return
        case 'policy.held':
          recorded = { digest: entry.policy, since: entry.time }
          return
        case 'policy.accepted':
          accepted = entry.policy
          return
        case 'finding.closed':
          if (entry.finding === finding) recorded = undefined
          return
        default:
      }
    },
  }
}

interface Deps {
  readonly limits: BrakeLimits
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
}
