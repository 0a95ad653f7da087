import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { systemClock } from '../../src/base/clock.ts'
import { type GrantId, newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import type { ReconcileResult } from '../../src/contract/reconcile.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { createSealer, openSealKey } from '../../src/ledger/seal.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { intentEntry, issuedEntry, loadedEntry } from '../support/entries.ts'
import { type Client, createClient } from './client.ts'
import { drive, figuresOf } from './load.ts'
import { type Child, ledgerIn, ledgerKeyIn, newFolder, origin, policiesIn, removeFolder, startServe } from './serve.ts'
import type { BenchVault } from './vault.ts'
import { type BenchIssuer, workloads, writePolicies } from './world.ts'

/** What comparing costs, of which leases and grants, and what requests notice of it. */
export interface ReconcileFigures {
  readonly leases: number
  /** A round with nothing to do. */
  readonly quiet: RoundFigures
  /** One that finds orphans, and grants that are gone, and ends them. */
  readonly busy: RoundFigures
  /** A call for a stored secret with no round beside it. */
  readonly aloneP99Ms: number
}

interface RoundFigures {
  readonly seconds: number
  readonly orphans: number
  readonly gone: number
  readonly longestTurnMs: number
  readonly besideP50Ms: number
  readonly besideP99Ms: number
  readonly rssMb: number
  readonly rssBeforeMb: number
}

const mount = 'pki/issue/leased'
const operator = 'erin@sre'
const atOnce = 32

// What a start leaves to do in the background has been done by then.
const settleMs = 10_000

/** Certificates with leases, the cheapest leases there are, all of them grants of the ledger; then some are made and ended by hand. */
export async function measureReconciling(
  { vault, issuer }: { readonly vault: BenchVault; readonly issuer: BenchIssuer },
  leases: number,
  amiss: number,
): Promise<ReconcileFigures> {
  const dir = await newFolder()
  const straight = createClient(vault.address, atOnce)
  try {
    const ids = await makeLeases(straight, vault.brokerToken, leases)
    await writePolicies(policiesIn(dir), issuer.jwk)
    await writeFile(join(policiesIn(dir), 'leased.yaml'), ownPolicies)
    await writeGrants(dir, ids)
    const writ = await startServe({ dir, vaultAddress: vault.address, vaultToken: vault.brokerToken })
    const api = createClient(writ.url, 8)
    try {
      const [token = ''] = await issuer.tokens(operator, 1)
      const headers = { authorization: `Bearer ${token}` }
      const round = async () =>
        (await api.send({ method: 'POST', path: '/v1/reconcile', headers, body: {} })) as ReconcileResult
      await round()
      await wait(settleMs)
      const quiet = await during(writ, api, issuer, round)
      const alone = await drive(await issueKv(api, issuer), 2, 3_000)
      await makeLeases(straight, vault.brokerToken, amiss)
      for (const id of ids.slice(0, amiss)) await endLease(straight, vault.brokerToken, id)
      const busy = await during(writ, api, issuer, round)
      return { leases, quiet, busy, aloneP99Ms: figuresOf([alone]).p99Ms }
    } finally {
      await api.close()
      await writ.stop()
    }
  } finally {
    await straight.close()
    await removeFolder(dir)
  }
}

const endLease = (straight: Client, token: string, id: string): Promise<unknown> =>
  straight.send({
    method: 'POST',
    path: '/v1/sys/leases/revoke',
    headers: { 'x-vault-token': token },
    body: { lease_id: id, sync: true },
  })

/** Runs a round to its end, with calls for a stored secret beside it. */
async function during(
  writ: Child,
  api: Client,
  issuer: BenchIssuer,
  round: () => Promise<ReconcileResult>,
): Promise<RoundFigures> {
  const rssBeforeMb = writ.rssMb()
  let rssMb = rssBeforeMb
  await longestTurn(writ)
  let over = false
  const call = await issueKv(api, issuer)
  const watching = (async () => {
    while (!over) {
      rssMb = Math.max(rssMb, writ.rssMb())
      await wait(50)
    }
  })()
  const beside = (async () => {
    const samples = [await drive(call, 2, 200)]
    while (!over) samples.push(await drive(call, 2, 200))
    return figuresOf(samples)
  })()
  const result = await round()
  over = true
  await watching
  const { p50Ms, p99Ms } = await beside
  if (!result.complete) throw new Error(`the round was not complete: ${JSON.stringify(result.roles)}`)
  return {
    seconds: result.took_ms / 1000,
    orphans: result.orphans,
    gone: result.gone,
    longestTurnMs: await longestTurn(writ),
    besideP50Ms: p50Ms,
    besideP99Ms: p99Ms,
    rssMb,
    rssBeforeMb,
  }
}

/** The longest that the event loop was held up since this was asked last. */
async function longestTurn(writ: Child): Promise<number> {
  const text = await (await fetch(`${writ.url}/metrics`)).text()
  return Number(/^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(text)?.[1]) * 1000
}

async function issueKv(api: Client, issuer: BenchIssuer): Promise<() => Promise<void>> {
  const kv = workloads.find(({ engine }) => engine === 'kv')
  if (kv === undefined) throw new Error('no workload for kv')
  const tokens = await issuer.tokens(kv.subject, 50)
  let n = 0
  return async () => {
    const authorization = `Bearer ${tokens[n++ % tokens.length]}`
    await api.send({
      method: 'POST',
      path: '/v1/credentials',
      headers: { authorization },
      body: { purpose: kv.purpose },
    })
  }
}

async function makeLeases(straight: Client, token: string, count: number): Promise<readonly string[]> {
  const ids: string[] = []
  let left = count
  async function make(): Promise<void> {
    while (left-- > 0) {
      const answer = await straight.send({
        method: 'POST',
        path: `/v1/${mount}`,
        headers: { 'x-vault-token': token },
        body: { common_name: 'bench.example.test', ttl: '6h' },
      })
      ids.push((answer as { lease_id: string }).lease_id)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, make))
  return ids
}

/** The ledger as it would stand had the broker issued those leases. */
async function writeGrants(dir: string, ids: readonly string[]): Promise<void> {
  const key = await openLedgerKey({ file: ledgerKeyIn(dir), origin, create: true })
  const ledger = await openFileLedger({ dir: ledgerIn(dir), origin, key, clock: systemClock, log: silentLog })
  const sealer = createSealer(await openSealKey(join(dir, 'seal.key')))
  const expires = new Date(Date.now() + 6 * 3600_000).toISOString()
  const ceilings = [{ name: 'purpose', seconds: 6 * 3600 }]
  async function issue(id: string, n: number): Promise<void> {
    const grant: GrantId = newId('gr', Date.now())
    const about = { grant, credential: 'leased', ceilings }
    const target = { engine: 'pki', mount: 'pki', role: 'leased' }
    await ledger.append(Object.assign(intentEntry(n), { ...about, ...target, ttl: 6 * 3600 }))
    const lease = sealer.seal({ type: 'lease', id })
    await ledger.append(Object.assign(issuedEntry(n), { ...about, lease, expires }))
  }
  try {
    await ledger.append(loadedEntry)
    for (let from = 0; from < ids.length; from += 1000) {
      await Promise.all(ids.slice(from, from + 1000).map((id, i) => issue(id, from + i)))
    }
  } finally {
    await ledger.close()
  }
}

const ownPolicies = `kind: Credential
name: leased
engine: pki
environment: prod
sensitivity: medium
data: [bench]
mount: pki
role: leased
params: { common_name: bench.example.test, generate_lease: true }
ttl: { max: 6h }
---
kind: Team
name: sre
contact: { email: sre@example.com }
members: [{ issuer: bench, subject: ${operator} }]
roles: [operator]
`
