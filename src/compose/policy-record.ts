import { bounded } from '../base/bounded.ts'
import { byBroker } from '../grants/provenance.ts'
import type { Ledger } from '../ledger/ledger.ts'

/** Each set that is loaded or refused is on record before it decides anything. */
export function policyRecord(ledger: Ledger) {
  const by = byBroker('policies')
  return {
    onLoaded: async (set: { digest: string; workloadCount: number; warnings: readonly unknown[] }) => {
      const counts = { workloads: set.workloadCount, warnings: set.warnings.length }
      await ledger.append({ ...by, kind: 'policy.loaded', policy: set.digest, ...counts })
    },
    onRefused: async (problems: readonly string[]) => {
      const shown = problems.slice(0, 20).map((problem) => bounded(problem))
      await ledger.append({ ...by, kind: 'policy.refused', problems: shown, total: problems.length })
    },
  }
}
