import type { Entry } from '../entry.ts'

/** How much an entry should worry whoever watches. */
export type Severity = 'info' | 'low' | 'medium' | 'high' | 'critical'

/** One scale for every form in which entries leave the ledger, so that no two of them disagree. docs/export.md has the table. */
export function severityOf(entry: Entry): Severity {
  switch (entry.kind) {
    case 'request.denied':
      return 'low'
    case 'policy.held':
      return 'high'
    case 'policy.refused':
    case 'config.ledger_repaired':
    case 'config.key_rotated':
      return 'medium'
    case 'grant.failed':
      return entry.ambiguous ? 'high' : 'medium'
    case 'grant.ending':
      return entry.cause === 'kill_switch' ? 'high' : 'info'
    case 'grant.ended':
      if (entry.outcome === 'failed' || entry.outcome === 'irrevocable') return 'high'
      return entry.cause === 'orphan' ? 'medium' : 'info'
    case 'finding.opened':
      return findings[entry.severity]
    default:
      return 'info'
  }
}

const findings = { info: 'info', warning: 'medium', critical: 'critical' } as const
