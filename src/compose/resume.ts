import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Brake } from '../broker/brake.ts'
import type { Approvals } from '../grants/approvals.ts'
import type { Findings } from '../grants/findings.ts'
import { createOpenEntries } from '../grants/open-entries.ts'
import type { Orders } from '../grants/orders.ts'
import type { Registry } from '../grants/registry.ts'
import { replay } from '../grants/replay.ts'
import type { Tasks } from '../grants/tasks.ts'
import type { Unrotated } from '../grants/unrotated.ts'
import { recordedUses } from '../identity/replay.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PublishedLog } from '../ledger/log/published.ts'
import { createRestart } from '../ledger/store/restart.ts'
import type { PolicyStore } from '../policy/store.ts'
import type { Signals } from '../signals/signals.ts'
import type { State } from '../state/state.ts'

interface Parts {
  /** Folder of the ledger, and the key of what is kept beside it. */
  readonly dir: string
  readonly key: Uint8Array
  readonly ledger: Ledger & PublishedLog
  readonly registry: Registry
  readonly tasks: Tasks
  readonly approvals: Approvals
  readonly orders: Orders
  readonly state: State
  readonly policies: PolicyStore
  readonly brake: Brake
  readonly signals: Signals
  readonly findings: Findings
  readonly unrotated: Unrotated
  readonly clock: Clock
  readonly log: Log
}

/**
 * Puts memory where the record left it, and keeps note from then on of what a next start must read. `entries` is how many were read.
 */
export async function resume(parts: Parts): Promise<{ readonly entries: number; readonly stop: () => Promise<void> }> {
  const { dir, key, ledger, state, policies, findings, unrotated, signals, brake, clock, log } = parts
  const useIn = recordedUses(() => policies.current().issuers)
  const openEntries = createOpenEntries({
    usedUntilMs: (entry) => useIn(entry)?.untilMs ?? signals.rememberedUntilMs(entry),
    now: clock.now,
  })
  const restart = createRestart({ dir, ledger, key, log })
  const { entries } = await replay({
    ...parts,
    entries: restart.entries(),
    async recall(stored) {
      openEntries.see(stored)
      brake.see(stored)
      await signals.recall(stored)
      findings.see(stored)
      unrotated.see(stored)
      const use = useIn(stored.entry)
      if (use !== undefined && use.untilMs > clock.now()) await state.claim(use.key, use.untilMs)
    },
  })
  const unsubscribe = ledger.subscribe((stored) => {
    openEntries.see(stored)
    brake.see(stored)
    findings.see(stored)
    unrotated.see(stored)
    signals.see(stored)
  })
  const following = restart.follow(() =>
    Float64Array.from([...openEntries.list(), ...signals.list(), ...unrotated.list()]).sort(),
  )
  return {
    entries,
    async stop() {
      await following.stop()
      unsubscribe()
    },
  }
}
