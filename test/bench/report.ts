import type { BrokerFigures } from './broker.ts'
import type { EngineCell, EngineFigures } from './engines.ts'
import type { ExportFigures } from './export.ts'
import { type IssuanceCell, variants } from './issuance.ts'
import type { LedgerFigures } from './ledger.ts'
import type { PolicyFigures } from './policy.ts'
import type { ProveFigures } from './prove.ts'
import type { QueryFigures } from './query.ts'
import type { ReconcileFigures } from './reconcile.ts'
import type { ReloadFigures } from './reload.ts'
import type { RevokeFigures } from './revoke.ts'
import type { VerifyFigures } from './verify.ts'
import type { EngineName } from './world.ts'

/** One promise and what was measured. */
export interface Row {
  readonly what: string
  readonly target: string
  readonly figure: string
  readonly met: boolean
}

/** Everything one run measured; parts that were not asked for, or could not run, are absent. */
export interface Measured {
  readonly issuance?: readonly IssuanceCell[]
  readonly broker?: BrokerFigures
  readonly policy?: { readonly few: PolicyFigures; readonly many: PolicyFigures }
  readonly reload?: ReloadFigures
  readonly ledger?: LedgerFigures
  readonly start?: {
    readonly entries: number
    readonly readyMs: number
    readonly firstMs: number
    readonly rssMb: number
  }
  readonly prove?: ProveFigures
  readonly verify?: VerifyFigures
  readonly query?: QueryFigures
  readonly exports?: { readonly entries: number; readonly figures: readonly ExportFigures[] }
  readonly revoke?: RevokeFigures
  readonly grants?: { readonly readyMs: number; readonly rssMb: number }
  readonly reconcile?: ReconcileFigures
  readonly engines?: EngineFigures
}

const p50Targets: Readonly<Record<EngineName, number>> = { kv: 0.6, ssh: 0.5, pki: 0.8, database: 0.8 }
const throughputTargets: Readonly<Record<EngineName, number>> = { kv: 3, ssh: 3, pki: 2.2, database: 1.2 }
const p99Target = 0.6
const bareTarget = 0.85

const atMost = (what: string, target: number, value: number, unit: string, digits = 2): Row => ({
  what,
  target: `≤ ${grouped(target)}${unit}`,
  figure: `${value.toFixed(digits)}${unit}`,
  met: value <= target,
})
const atLeast = (what: string, target: number, value: number, digits = 2): Row => ({
  what,
  target: `≥ ${grouped(target)}`,
  figure: digits === 0 ? grouped(Math.round(value)) : value.toFixed(digits),
  met: value >= target,
})
const grouped = (value: number): string => value.toLocaleString('en-US')

/** Every promise that the run could look at, in the order of the documentation. */
export function rowsOf({
  issuance = [],
  broker,
  policy,
  reload,
  ledger,
  start,
  prove,
  verify,
  query,
  revoke,
  grants,
  reconcile,
  engines,
}: Measured): readonly Row[] {
  const rows: Row[] = issuance.flatMap(issuanceRows)
  rows.push(...(engines?.cells ?? []).map(engineRow))
  if (broker !== undefined) {
    const { refusals, readyMs, idleMb } = broker
    rows.push(atMost('refusal of a known workload, entry durable, p50', 1, refusals.known.p50Ms, ' ms'))
    rows.push(atMost('refusal of a stranger, p50', 1, refusals.stranger.p50Ms, ' ms'))
    rows.push(atMost('`serve` ready', 1000, readyMs, ' ms', 0))
    rows.push(atMost('resident memory, idle', 150, idleMb, ' MiB', 0))
  }
  if (grants !== undefined) rows.push(atMost('resident memory, 100,000 live grants', 400, grants.rssMb, ' MiB', 0))
  if (reconcile !== undefined) {
    const { leases, busy, quiet } = reconcile
    const what = `longest turn of the event loop while ${grouped(leases)} leases are compared`
    rows.push(atMost(what, 50, quiet.longestTurnMs, ' ms', 0))
    const grown = Math.max(busy.rssMb - busy.rssBeforeMb, quiet.rssMb - quiet.rssBeforeMb)
    rows.push(atMost('memory that comparing them takes', 150, grown, ' MiB', 0))
  }
  if (policy !== undefined) {
    const { few, many } = policy
    rows.push(atMost('`decide` with 10 workloads, p50', 20, few.decideP50Us, ' µs', 1))
    rows.push(atMost('`decide` with 10,000 workloads, p50', 20, many.decideP50Us, ' µs', 1))
    rows.push(atMost('load 10,000 workloads', 3, many.loadMs / 1000, ' s'))
  }
  if (reload !== undefined) {
    const delay = Math.max(0, reload.longestMs - reload.p50Ms)
    rows.push(atMost('longest delay of a request while 10,000 workloads are reloaded', 50, delay, ' ms', 0))
  }
  if (ledger !== undefined) {
    rows.push(
      atLeast('durable ledger entries a second, 64 at once, tree and signature included', 20_000, ledger.perSecond, 0),
    )
    rows.push(atMost('ledger append, 64 at once, p99', 5, ledger.p99Ms, ' ms', 1))
    rows.push(atMost('one ledger append ÷ one write and fdatasync, p50', 2, ledger.singleMs / ledger.syncMs, ''))
  }
  if (start !== undefined) {
    rows.push(atMost(`\`serve\` ready over ${grouped(start.entries)} entries`, 5, start.readyMs / 1000, ' s', 1))
  }
  if (prove !== undefined) {
    const what = `entry by index proved and verified from a folder of ${grouped(prove.entries)}, p50`
    rows.push(atMost(what, 5, prove.p50Ms, ' ms'))
  }
  if (verify !== undefined) {
    const { entries, perSecond, mostMb } = verify
    rows.push(atLeast(`entries verified a second, a folder of ${grouped(entries)}`, 150_000, perSecond, 0))
    rows.push(atMost('most resident memory of that', 100, mostMb, ' MB', 1))
  }
  if (query !== undefined) {
    const over = `over ${grouped(query.entries)} entries, p99`
    rows.push(atMost(`query by grant ${over}`, 20, query.byGrant.p99Ms, ' ms', 1))
    rows.push(atMost(`query by database user ${over}`, 20, query.byUser.p99Ms, ' ms', 1))
    rows.push(atMost(`query by workload, a page of 100, ${over}`, 20, query.byWorkload.p99Ms, ' ms', 1))
    rows.push(atMost('indexing an entry as it is appended', 5, query.perEntryUs, ' µs', 1))
  }
  if (revoke !== undefined) {
    const { cells, storm, task } = revoke
    for (const { engine, overheadMs, bare } of cells) {
      const than = bare === undefined ? 'all of it, as nothing ends such a secret' : 'more than the bare call'
      rows.push(atMost(`revoking one grant, ${engine}: ${than}, p50`, 3, overheadMs, ' ms'))
    }
    rows.push(
      atMost(
        `revoking ${grouped(storm.grants)} database grants ÷ \`lease revoke -prefix -sync\``,
        1.15,
        storm.ratio,
        '',
      ),
    )
    rows.push(atMost(`ending a task with ${task.grants} database grants, p99`, 1000, task.p99Ms, ' ms', 0))
  }
  return rows
}

function issuanceRows({ engine, atOnce, toStraight, toBare }: IssuanceCell): Row[] {
  const name = `${engine}, ${atOnce} at once:`
  const straight =
    atOnce === 1
      ? atMost(`${name} p50 ÷ straight`, p50Targets[engine], toStraight.p50, '')
      : atLeast(`${name} throughput ÷ straight`, throughputTargets[engine], toStraight.perSecond)
  return [
    straight,
    atMost(`${name} p99 ÷ straight`, p99Target, toStraight.p99, ''),
    atLeast(`${name} throughput ÷ bare path`, bareTarget, toBare.perSecond),
  ]
}

/** What is promised of an engine goes by what its call costs Vault, as that of the first four does: see `p50Targets`. */
function engineRow({ engine, leases, atOnce, p50, perSecond }: EngineCell): Row {
  return atOnce === 1
    ? atMost(`${engine}, 1 at once: p50 ÷ straight`, leases ? 0.8 : 0.5, p50, '')
    : atLeast(`${engine}, ${atOnce} at once: throughput ÷ straight`, leases ? 1.2 : 3, perSecond)
}

/** The promises as a table for people. */
export const promisesTable = (rows: readonly Row[]): string =>
  table(
    ['what', 'target', 'measured', ''],
    rows.map(({ what, target, figure, met }) => [what, target, figure, met ? 'met' : '**missed**']),
  )

/** The absolute figures behind the ratios. */
export const issuanceTable = (cells: readonly IssuanceCell[]): string =>
  table(
    ['engine', 'at once', 'variant', 'p50 ms', 'p99 ms', 'per second', 'calls', 'processor ms'],
    cells.flatMap(({ engine, atOnce, figures, cpuMs }) =>
      variants.map((variant) => {
        const { p50Ms, p99Ms, perSecond, count } = figures[variant]
        return [
          engine,
          String(atOnce),
          variant,
          p50Ms.toFixed(2),
          p99Ms.toFixed(1),
          perSecond.toFixed(0),
          grouped(count),
          variant === 'straight' ? '' : cpuMs[variant].toFixed(2),
        ]
      }),
    ),
  )

/** Each engine beside the bare call to Vault, with a token that is there already. */
export const enginesTable = ({ cells, missing }: EngineFigures): string =>
  [
    table(
      [
        'engine',
        'at once',
        'bare call p50 ms',
        'p99',
        'login and call p50 ms',
        'p99',
        'writ p50 ms',
        'p99',
        'writ per second',
      ],
      cells.map(({ engine, atOnce, figures: { call, straight, writ } }) => [
        engine,
        String(atOnce),
        ...[call, straight, writ].flatMap(({ p50Ms, p99Ms }) => [p50Ms.toFixed(2), p99Ms.toFixed(1)]),
        writ.perSecond.toFixed(0),
      ]),
    ),
    ...(missing.length === 0 ? [] : [`\nNot on this machine, so not measured: ${missing.join(', ')}.`]),
  ].join('\n')

/** What has no target and explains the figures that have. */
export function otherLines({
  broker,
  policy,
  reload,
  ledger,
  start,
  prove,
  verify,
  query,
  exports,
  revoke,
  grants,
  reconcile,
}: Measured): readonly string[] {
  const lines: string[] = []
  if (ledger !== undefined) {
    const { syncMs, singleMs, hashesPerSecond, bytesPerIssuance } = ledger
    lines.push(
      `the disk does a write and fdatasync of 800 bytes in ${syncMs.toFixed(2)} ms p50, one ledger append takes ` +
        `${singleMs.toFixed(2)} ms; one thread does ${grouped(Math.round(hashesPerSecond))} SHA-256 of 800 bytes a second`,
    )
    lines.push(
      `an issuance (intent and outcome) is ${grouped(Math.round(bytesPerIssuance))} bytes on disk, hash tiles included`,
    )
  }
  if (start !== undefined) {
    lines.push(
      `start over ${grouped(start.entries)} entries without a restart point, all of them read: ${(start.firstMs / 1000).toFixed(1)} s; ` +
        `resident afterwards with one: ${start.rssMb.toFixed(0)} MiB`,
    )
  }
  if (reconcile !== undefined) {
    const { leases, busy, quiet, aloneP99Ms } = reconcile
    lines.push(
      `reconciling ${grouped(leases)} leases: ${quiet.seconds.toFixed(1)} s with nothing to do, ${busy.seconds.toFixed(1)} s with ` +
        `${grouped(busy.orphans)} orphans and ${grouped(busy.gone)} grants that were gone; a stored secret beside it p50 ` +
        `${quiet.besideP50Ms.toFixed(1)} ms, p99 ${quiet.besideP99Ms.toFixed(1)} ms (${busy.besideP99Ms.toFixed(1)} ms while it ends them; ` +
        `alone ${aloneP99Ms.toFixed(1)} ms); longest turn ${quiet.longestTurnMs.toFixed(0)} ms (${busy.longestTurnMs.toFixed(0)} ms while it ` +
        `ends them); resident ${Math.max(busy.rssMb, quiet.rssMb).toFixed(0)} MiB`,
    )
  }
  if (prove !== undefined) {
    const { entries, p99Ms, receiptP50Ms, oldestGrantSeconds } = prove
    lines.push(
      `proofs over ${grouped(entries)} entries: p99 ${p99Ms.toFixed(1)} ms; the receipt alone, from the ledger that is being ` +
        `written, ${receiptP50Ms.toFixed(2)} ms p50; the oldest grant found in ${oldestGrantSeconds.toFixed(1)} s`,
    )
  }
  if (verify !== undefined) {
    const { entries, bytes, readSeconds, hashSeconds } = verify
    lines.push(
      `verification of ${grouped(entries)} entries, at best: one thread reads their ${(bytes / 1e6).toFixed(0)} MB of files in ` +
        `${readSeconds.toFixed(1)} s and does SHA-256 of as many leaves and nodes in ${hashSeconds.toFixed(1)} s, ` +
        `${grouped(Math.round(entries / (readSeconds + hashSeconds)))} entries a second`,
    )
  }
  if (query !== undefined) {
    const { byGrant, byUser, byWorkload, bytesPerEntry, rebuildSeconds, longestStallMs, openSeconds } = query
    lines.push(
      `query p50: by grant ${byGrant.p50Ms.toFixed(1)} ms, by database user ${byUser.p50Ms.toFixed(1)} ms, ` +
        `by workload ${byWorkload.p50Ms.toFixed(1)} ms`,
    )
    lines.push(
      `index: ${bytesPerEntry.toFixed(1)} bytes an entry; made anew in ${rebuildSeconds.toFixed(1)} s, never holding up the ` +
        `event loop for more than ${longestStallMs.toFixed(0)} ms; opened again in ${openSeconds.toFixed(2)} s, in the background`,
    )
  }
  for (const { form, perSecond, mostMb } of exports?.figures ?? []) {
    const all = grouped(exports?.entries ?? 0)
    lines.push(`${form} of ${all} entries: ${grouped(Math.round(perSecond))} a second, at most ${mostMb.toFixed(0)} MB`)
  }
  if (broker !== undefined) {
    const { known, stranger } = broker.refusals
    lines.push(`refusal p99: known workload ${known.p99Ms.toFixed(2)} ms, stranger ${stranger.p99Ms.toFixed(2)} ms`)
  }
  if (policy !== undefined) {
    const { few, many } = policy
    lines.push(`\`decide\` p99: ${few.decideP99Us} µs with 10 workloads, ${many.decideP99Us} µs with 10,000`)
    lines.push(`loading 10,000 workloads holds up the event loop for at most ${many.stallMs} ms at a time`)
  }
  if (reload !== undefined) {
    lines.push(
      `reload of 10,000 workloads: ${reload.seconds.toFixed(1)} s; requests meanwhile ${reload.p50Ms.toFixed(2)} ms p50, ` +
        `${reload.longestMs.toFixed(0)} ms at most (${reload.longestBeforeMs.toFixed(0)} ms in the second before)`,
    )
  }
  for (const { engine, writ, bare } of revoke?.cells ?? []) {
    const beside = bare === undefined ? '' : `; the bare call ${bare.p50Ms.toFixed(2)} and ${bare.p99Ms.toFixed(2)} ms`
    lines.push(
      `revoking one grant, ${engine}: p50 ${writ.p50Ms.toFixed(2)} ms, p99 ${writ.p99Ms.toFixed(2)} ms${beside}`,
    )
  }
  if (revoke !== undefined) {
    const { storm, task } = revoke
    lines.push(
      `revoking ${grouped(storm.grants)} database grants: ${storm.writSeconds.toFixed(2)} s; by prefix, straight: ` +
        `${storm.bareSeconds.toFixed(2)} s; ending a task with ${task.grants} of them: p50 ${task.p50Ms.toFixed(0)} ms`,
    )
  }
  if (grants !== undefined) {
    lines.push(`\`serve\` ready over a ledger of 100,000 live grants: ${(grants.readyMs / 1000).toFixed(1)} s`)
  }
  return lines
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
