import { bounded } from '../base/bounded.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { createTurns } from '../base/in-turn.ts'
import type { Log } from '../base/log.ts'
import type { Secret } from '../base/secret.ts'
import { type Compared, mostNamed, type ReconcileResult } from '../contract/reconcile.ts'
import type { LeaseHandle } from '../engines/engine.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Findings } from './findings.ts'
import { createGoneCheck } from './gone.ts'
import type { Grant } from './grant.ts'
import type { Pace, Series } from './pace.ts'
import { byBroker, type Provenance } from './provenance.ts'
import type { Source } from './sources.ts'
import { createStrayFinder, type Strays } from './strays.ts'

export interface CompareDeps
  extends Omit<Parameters<typeof createGoneCheck>[0], 'pace'>,
    Omit<Parameters<typeof createStrayFinder>[0], 'pace'> {
  readonly ledger: Pick<Ledger, 'append'>
  readonly findings: Findings
  readonly pace: Pace
  readonly log: Log
}

/** Why a round runs, and for whom. */
export interface RoundOrder {
  readonly trigger: ReconcileResult['trigger']
  readonly dryRun: boolean
  readonly by: Provenance
}

/** What a round has come to so far. */
export interface Tally {
  readonly order: RoundOrder
  readonly roles: Compared[]
  readonly orphanLeases: ReconcileResult['orphan_leases'][number][]
  readonly goneGrants: ReconcileResult['gone_grants'][number][]
  /** Findings that are still true, or about roles of which nothing was learnt. */
  readonly standing: Set<string>
  orphans: number
  gone: number
  opened: number
}

export interface Comparison {
  begin(order: RoundOrder): Tally
  /** Compares one role with its live grants by lease. Never rejects: what could not be done is in the answer. */
  role(source: Source, known: Map<string, Grant>, tally: Tally): Promise<void>
  /**
   * Ends what mints of unknown outcome may have left, and says for the record what was done about it. The mints in `except` are not
   * waited for. @throws BrokerFault when Vault could not be asked about all of it
   */
  settle(source: Source, except: ReadonlySet<string>): Promise<string>
  /** Leases without a grant that were revoked since the start. */
  orphansRevoked(): number
}

/**
 * Secrets that no list shows (certificates without a lease, wrapped ones) are asked about one by one: so many in a round of the
 * interval, in turns. A round that somebody asks for asks about all.
 */
export const mostAskedSingly = 1_000

export const findingPrefix = 'stray-lease-'

export function createComparison(deps: CompareDeps): Comparison {
  const { ledger, log } = deps
  const findStrays = createStrayFinder(deps)
  const goneCheck = createGoneCheck(deps)
  const askedLast = new Map<string, string>()
  let revoked = 0

  /** One comparison of a role at a time: two would both revoke, and both record, what they find. */
  const inTurn = createTurns<string>()

  async function listing(source: Source): Promise<Iterable<Secret<LeaseHandle>> | undefined> {
    for (const target of source.targets) {
      const listed = await deps.engine(source.engine).leases(target)
      if (listed !== undefined) return listed
    }
    return undefined
  }

  async function revokeOrphan(source: Source, handle: LeaseHandle, hash: string): Promise<void> {
    await deps.engine(source.engine).revoke(handle)
    await ledger.append({
      ...byBroker('reconcile'),
      credential: source.credentials[0],
      kind: 'grant.ended',
      cause: 'orphan',
      outcome: 'revoked',
      lease_hash: hash,
    })
    revoked += 1
    log.warn({ target: source.label, credential: source.credentials[0], lease_hash: hash }, 'orphan_revoked')
  }

  async function openFinding(source: Source, leases: number): Promise<boolean> {
    const why =
      source.credentials.length > 0
        ? 'its Credential says that others use the role too'
        : 'no Credential names the role, so nothing says whether others use it'
    return deps.findings.open({
      ...byBroker('reconcile'),
      credential: source.credentials[0],
      finding: findingOf(source),
      severity: 'warning',
      detail: bounded(`up to ${leases} leases of ${source.label} are not of this broker and were left: ${why}`),
    })
  }

  async function strays(
    source: Source,
    listed: Iterable<Secret<LeaseHandle>>,
    known: Map<string, Grant>,
    tally: Tally,
  ): Promise<Strays & { readonly orphans: number; readonly foreign: number }> {
    const { dryRun } = tally.order
    let orphans = 0
    const found = await findStrays({
      source,
      listed,
      known,
      first: !source.exclusive,
      async onStray(handle, hash) {
        if (!source.exclusive) return
        if (!dryRun) await revokeOrphan(source, handle, hash)
        orphans += 1
        tally.orphans += 1
        if (tally.orphanLeases.length < mostNamed)
          tally.orphanLeases.push({ credential: source.credentials[0] ?? null, lease_hash: hash })
      },
    })
    const foreign = found.any && !source.exclusive ? found.unknown - found.spared : 0
    if (foreign > 0) {
      tally.standing.add(findingOf(source))
      if (!dryRun && (await openFinding(source, foreign))) tally.opened += 1
    }
    return { ...found, orphans, foreign }
  }

  /** Those of the grants that no list shows, as many as are asked about in one round. */
  function inTurns(label: string, grants: readonly Grant[], all: boolean): readonly Grant[] {
    if (all || grants.length <= mostAskedSingly) return grants
    const after = askedLast.get(label) ?? ''
    const sorted = grants.toSorted((a, b) => (a.id < b.id ? -1 : 1))
    const later = sorted.filter(({ id }) => id > after)
    const earlier = sorted.filter(({ id }) => id <= after)
    const chosen = [...later, ...earlier].slice(0, mostAskedSingly)
    askedLast.set(label, chosen.at(-1)?.id ?? '')
    return chosen
  }

  async function compareRole(source: Source, known: Map<string, Grant>, tally: Tally): Promise<Compared | undefined> {
    const grants = known.size
    const listed = await listing(source)
    if (listed === undefined && grants === 0) return undefined
    const found = listed === undefined ? nothing : await strays(source, listed, known, tally)
    // What is left of them was not listed.
    const active = [...known.values()].filter(({ status }) => status === 'active')
    const single = active.filter(({ delivery }) => listed === undefined || delivery === 'wrapped')
    const missing = active.filter(({ delivery }) => listed !== undefined && delivery !== 'wrapped')
    const { trigger, dryRun, by } = tally.order
    let gone = 0
    const ended = await goneCheck.check({
      source,
      suspects: [...missing, ...inTurns(source.label, single, trigger === 'demand')],
      dryRun,
      by,
      onGone(each) {
        gone += 1
        tally.gone += 1
        if (tally.goneGrants.length < mostNamed) tally.goneGrants.push(each)
        log.warn({ ...each, dry_run: dryRun }, 'grant_gone')
      },
    })
    return {
      ...row(source),
      leases: found.leases,
      grants,
      orphans: found.orphans,
      foreign: found.foreign,
      spared: found.spared,
      gone,
      unproved: ended.unproved,
      problem: problemOf([found.series, ended.series]),
    }
  }

  return {
    begin(order) {
      goneCheck.begin()
      return { order, roles: [], orphanLeases: [], goneGrants: [], standing: new Set(), orphans: 0, gone: 0, opened: 0 }
    },
    async role(source, known, tally) {
      let compared: Compared | undefined
      try {
        compared = await inTurn(source.label, () => compareRole(source, known, tally))
      } catch (error) {
        const problem = error instanceof BrokerFault ? error.message : 'the broker failed'
        compared = { ...row(source), ...zero, grants: known.size, problem: bounded(problem) }
        log.error({ target: source.label, error: messageOf(error) }, 'reconcile_failed')
      }
      if (compared === undefined) return
      tally.roles.push(compared)
      // Of a role that was not looked at wholly, a finding is not over.
      if (compared.problem !== null) tally.standing.add(findingOf(source))
    },
    settle: (source, except) =>
      inTurn(source.label, async () => {
        const listed = await listing(source)
        if (listed === undefined) return `${noOutcome} nothing of this kind can be listed in Vault`
        const { series, any } = await findStrays({
          source,
          listed,
          known: new Map(),
          except,
          first: !source.exclusive,
          onStray: (handle, hash) => (source.exclusive ? revokeOrphan(source, handle, hash) : Promise.resolve()),
        })
        const problem = problemOf([series])
        if (problem !== null) throw new BrokerFault('vault_unavailable', problem)
        if (source.exclusive) return `${noOutcome} whatever it left in Vault is revoked`
        return any ? `${noOutcome} what it left cannot be told from leases of others` : `${noOutcome} it left nothing`
      }),
    orphansRevoked: () => revoked,
  }
}

const noOutcome = 'the mint had no recorded outcome;'

const findingOf = ({ credentials, label }: Source): string => `${findingPrefix}${credentials[0] ?? label}`.slice(0, 200)

const row = ({ engine, mount, role, credentials }: Source) => ({ engine, mount, role, credentials: [...credentials] })

const zero = { leases: 0, orphans: 0, foreign: 0, spared: 0, gone: 0, unproved: 0 }
const nothing = { ...zero, series: { failed: 0, failure: undefined, cut: false } }

function problemOf(all: readonly Series[]): string | null {
  const failed = all.reduce((sum, series) => sum + series.failed, 0)
  const cut = all.some((series) => series.cut)
  if (failed === 0) return cut ? 'the broker stopped before it was done' : null
  const failure = all.find((series) => series.failed > 0)?.failure
  const why = failure instanceof BrokerFault ? failure.message : 'the broker failed'
  return bounded(
    `${failed} of its leases could not be looked at or ended${cut ? ', so the rest was left' : ''}: ${why}`,
  )
}
