import { type FSWatcher, watch } from 'node:fs'
import type { Clock, Timer } from '../base/clock.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { timeText } from '../contract/fields.ts'
import type { ReloadStatus } from '../contract/policy.ts'
import { type LoadOptions, type LoadResult, loadPolicies, type PolicyProblem, problemText } from './load.ts'
import { createPolicyReader } from './policy-reader.ts'
import type { PolicySet } from './policy-set.ts'

/** The policies in force, kept current with their folder. */
export interface PolicyStore {
  /** The set in force: never half of one, never changed in place. */
  current(): PolicySet
  /** Reads the folder now. A set with a problem is refused as a whole, and the one before it stays in force. */
  reload(): Promise<ReloadStatus>
  /** Calls `listener` whenever another set has come into force; a reload resolves after it has. Its faults are logged. */
  follow(listener: (before: PolicySet, after: PolicySet) => Promise<void>): void
  /** What is in force since when, and the last reload that was refused since then. */
  status(): ReloadStatus
  close(): void
}

export interface PolicyStoreOptions {
  readonly dir: string
  readonly clock: Clock
  readonly log: Log
  /** Told of each set before it comes into force; a fault here (no ledger, no record) keeps the old one. */
  readonly onLoaded?: (set: PolicySet) => Promise<void> | void
  /** Told of each set that is refused, one line for each error. */
  readonly onRefused?: (problems: readonly string[]) => Promise<void> | void
  /** How the folder is read; `loadPolicies` when absent. */
  readonly load?: (dir: string, options: LoadOptions) => Promise<LoadResult>
}

/** Why the first load failed; `problems` are all of them. */
export class PolicyFault extends BrokerFault {
  readonly problems: readonly PolicyProblem[]

  constructor(problems: readonly PolicyProblem[]) {
    super('internal', ['the policies cannot be loaded', ...errorLines(problems).slice(0, 20)].join('\n'))
    this.name = 'PolicyFault'
    this.problems = problems
  }
}

const errorLines = (problems: readonly PolicyProblem[]): readonly string[] =>
  problems.filter(({ severity }) => severity === 'error').map(problemText)

// An editor writes a file in several steps, and a deployment several files: wait until the folder has been still.
const quietMs = 250

/**
 * Loads the folder and follows its changes.
 * @throws PolicyFault when the first load finds a problem: without policies there is nothing to serve
 */
export async function createPolicyStore(options: PolicyStoreOptions): Promise<PolicyStore> {
  const { dir, clock, log, onLoaded, onRefused, load = loadPolicies } = options
  const reader = createPolicyReader()
  const first = await load(dir, { reader })
  if (!first.ok) {
    await onRefused?.(errorLines(first.problems))
    throw new PolicyFault(first.problems)
  }
  await onLoaded?.(first.set)
  let set = first.set
  let loadedAtMs = clock.now()
  let refused: ReloadStatus['refused'] = null
  const listeners: ((before: PolicySet, after: PolicySet) => Promise<void>)[] = []

  const status = (): ReloadStatus => ({
    digest: set.digest,
    loaded_at: timeText(loadedAtMs),
    workloads: set.workloadCount,
    refused,
  })

  async function loadAgain(): Promise<void> {
    const result = await load(dir, { reader })
    if (!result.ok) {
      const problems = errorLines(result.problems)
      refused = { at: timeText(clock.now()), problems: problems.slice(0, 100) }
      log.error({ problems: problems.slice(0, 20), total: problems.length }, 'policy.refused')
      await onRefused?.(problems)
      return
    }
    const before = set
    const changed = result.set.digest !== before.digest
    if (changed) await onLoaded?.(result.set)
    // One assignment: a request sees the old set or the new one. Key files may have changed under the same digest.
    set = result.set
    loadedAtMs = clock.now()
    refused = null
    if (!changed) return
    log.info({ digest: set.digest, workloads: set.workloadCount, warnings: set.warnings.length }, 'policy.loaded')
    for (const listener of listeners) {
      await listener(before, result.set).catch((error: unknown) =>
        log.error({ digest: result.set.digest, error: messageOf(error) }, 'policy.change_failed'),
      )
    }
  }

  const reload = oneAtATime(loadAgain)
  const follow = followChanges(dir, clock, log, () => {
    reload().catch((error: unknown) => log.error({ error: messageOf(error) }, 'policy.reload_failed'))
  })
  return {
    current: () => set,
    follow: (listener) => void listeners.push(listener),
    status,
    async reload() {
      await reload()
      return status()
    },
    close: follow,
  }
}

/** Runs that overlap would let an older folder win. A call during a run gets one run of its own after it, shared by all such calls. */
function oneAtATime(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  let waiting: Promise<void> | undefined
  const start = (): Promise<void> => {
    running = run().finally(() => {
      running = undefined
    })
    return running
  }
  return () => {
    if (running === undefined) return start()
    waiting ??= running
      .catch(() => {})
      .then(() => {
        waiting = undefined
        return start()
      })
    return waiting
  }
}

function followChanges(dir: string, clock: Clock, log: Log, changed: () => void): () => void {
  let timer: Timer | undefined
  let watcher: FSWatcher | undefined
  const later = (): void => {
    timer?.cancel()
    timer = clock.after(quietMs, changed)
  }
  try {
    // Renames and new folders are followed as well; a folder on a network file system may not report anything.
    watcher = watch(dir, { recursive: true, persistent: false }, later)
    watcher.on('error', (error) => log.warn({ error: messageOf(error) }, 'policy.watch_failed'))
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'policy.watch_failed')
  }
  return () => {
    timer?.cancel()
    watcher?.close()
  }
}
