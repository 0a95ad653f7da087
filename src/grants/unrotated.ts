import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { createRounds, type Rounds } from '../base/rounds.ts'
import { timeText } from '../contract/fields.ts'
import type { EntryBody } from '../ledger/entry.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { Findings } from './findings.ts'
import { byBroker } from './provenance.ts'

/**
 * The look-out for static secrets that nobody rotates: a finding counts the days of each value that was handed out and has stood for
 * longer than its Credential allows. It goes away once a newer value is handed out, or with the Credential.
 */
export interface Unrotated extends Rounds {
  /** Must be shown every entry of `list` at the start, and each new one. */
  see(stored: StoredEntry): void
  /** Indexes of the entries that a next start must read. */
  list(): readonly number[]
}

const intervalMs = 60_000
const dayMs = 86_400_000
/** How often the count of an open finding is brought up to date: the record should not grow by an entry a day. */
const recountDays = 7
const prefix = 'static-unrotated-'

type Issued = Extract<EntryBody, { kind: 'grant.issued' }>

interface HandedOut {
  readonly index: number
  readonly entry: Issued
  readonly rotatedAtMs: number
}

interface Deps {
  readonly findings: Pick<Findings, 'restate' | 'close' | 'named'>
  readonly policies: () => Pick<PolicySet, 'credentials' | 'digest'>
  readonly clock: Clock
  readonly log: Log
}

export function createUnrotated(deps: Deps): Unrotated {
  const { findings, policies, clock, log } = deps
  /** What was handed out last, by Credential. */
  const last = new Map<string, HandedOut>()

  async function look(): Promise<void> {
    try {
      const { credentials, digest } = policies()
      const standing = new Set<string>()
      for (const { name, rotateEverySeconds } of credentials) {
        const handed = last.get(name)
        if (handed === undefined || rotateEverySeconds === undefined) continue
        const detail = complaint(handed, rotateEverySeconds * 1000, clock.now())
        if (detail === undefined) continue
        standing.add(prefix + name)
        const { workload, owner } = handed.entry
        const about = { ...byBroker('rotation'), policy: digest, credential: name, workload, owner }
        await findings.restate({ ...about, finding: prefix + name, severity: 'warning', detail })
      }
      for (const name of findings.named(prefix)) {
        if (!standing.has(name)) await findings.close(name, { ...byBroker('rotation'), policy: digest })
      }
    } catch (error) {
      log.error({ error: messageOf(error) }, 'unrotated_failed')
    }
  }

  return {
    see({ entry, index }) {
      if (entry.kind !== 'grant.issued' || !entry.static || entry.rotation === undefined) return
      // At a start an entry may be shown after a later one.
      if (entry.credential === undefined || index < (last.get(entry.credential)?.index ?? 0)) return
      last.set(entry.credential, { index, entry, rotatedAtMs: Date.parse(entry.rotation.rotated_at) })
    },
    list: () => [...last.values()].map(({ index }) => index),
    ...createRounds(clock, intervalMs, look),
  }
}

/** What is the matter, or `undefined` while the value may stand. */
function complaint({ entry, rotatedAtMs }: HandedOut, mayStandMs: number, nowMs: number): string | undefined {
  const overMs = nowMs - rotatedAtMs - mayStandMs
  if (overMs <= 0) return undefined
  const allowed = Math.floor(mayStandMs / dayMs)
  const days = allowed + Math.floor(overMs / dayMs / recountDays) * recountDays
  const what = entry.ids.find(({ type }) => type === 'kv_version')?.value ?? entry.credential
  return (
    `${what} has stood unrotated since ${timeText(rotatedAtMs)}, for ${days} days or more, and may for ${allowed}; ` +
    `ask ${entry.owner}, whose ${entry.workload} got it last`
  )
}
