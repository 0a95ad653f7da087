import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BareOrders } from './bare.ts'
import { type Client, createClient } from './client.ts'
import { drive, type Figures, figuresOf, p50Ms, perSecond, ratioOf, type Sample } from './load.ts'
import { type Child, newFolder, policiesIn, removeFolder, startChild, startServe } from './serve.ts'
import type { BenchVault } from './vault.ts'
import { type BenchIssuer, type BenchWorkload, type EngineName, workloads, writePolicies } from './world.ts'

export const variants = ['straight', 'bare', 'writ'] as const
export type Variant = (typeof variants)[number]

/** One engine at one number of calls at once. Ratios are of the broker to the variant named, in the same rounds. */
export interface IssuanceCell {
  readonly engine: EngineName
  readonly atOnce: number
  readonly figures: Readonly<Record<Variant, Figures>>
  readonly toStraight: Ratios
  readonly toBare: Ratios
  /** Processor time one call takes in the broker's process, milliseconds. */
  readonly cpuMs: Readonly<Record<'bare' | 'writ', number>>
}

interface Ratios {
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
}

export interface IssuancePlan {
  readonly engines: readonly EngineName[]
  readonly atOnce: readonly number[]
  readonly rounds: number
  readonly sliceMs: number
  /** How long each variant of each engine runs before it is measured. */
  readonly warmMs: number
  /** Calls that each of the two brokers answers before anything is measured. */
  readonly warmCalls: number
  readonly profileDir?: string | undefined
}

/**
 * The same credentials in three ways: straight from the server (JWT login, then mint), through the bare path, and through
 * `writ serve`. The variants take turns in short slices, all over kept connections from this process; each of the two
 * brokers is a process of its own, so that all three share the processors in the same way.
 */
export async function measureIssuance(
  vault: BenchVault,
  issuer: BenchIssuer,
  plan: IssuancePlan,
  onCell: (cell: IssuanceCell) => void,
): Promise<readonly IssuanceCell[]> {
  const dir = await newFolder()
  const most = Math.max(...plan.atOnce)
  const closers: (() => Promise<void>)[] = [() => removeFolder(dir)]
  try {
    await writePolicies(policiesIn(dir), issuer.jwk)
    const writ = await startServe({
      dir,
      vaultAddress: vault.address,
      vaultToken: vault.brokerToken,
      profileDir: plan.profileDir,
    })
    closers.push(() => writ.stop())
    const bare = await startBare(dir, vault, issuer)
    closers.push(() => bare.stop())
    const open = (address: string): Client => {
      const client = createClient(address, most)
      closers.push(() => client.close())
      return client
    }
    const clients = { straight: open(vault.address), bare: open(bare.url), writ: open(writ.url) }
    const cells: IssuanceCell[] = []
    // Servers run for weeks: what is measured is compiled code, on all sides. V8 compiles for tens of thousands of calls; those of
    // kv leave nothing behind in the server.
    for (const workload of workloads.filter(({ engine }) => engine === 'kv')) {
      const calls = await callsFor(workload, clients, issuer)
      for (const broker of ['bare', 'writ'] as const) await warmUp(calls[broker], most, plan.warmCalls)
    }
    for (const workload of workloads.filter(({ engine }) => plan.engines.includes(engine))) {
      const calls = await callsFor(workload, clients, issuer)
      for (const variant of variants) await drive(calls[variant], most, plan.warmMs)
      for (const atOnce of plan.atOnce) {
        const cell = await measureCell(workload.engine, atOnce, { calls, children: { bare, writ } }, plan)
        cells.push(cell)
        onCell(cell)
      }
    }
    return cells
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

async function startBare(dir: string, vault: BenchVault, issuer: BenchIssuer): Promise<Child> {
  const folder = join(dir, 'bare')
  await mkdir(folder)
  const orders: BareOrders = {
    vaultAddress: vault.address,
    vaultToken: vault.bareToken,
    jwk: issuer.jwk,
    ledgerDir: join(folder, 'ledger'),
    workloads,
  }
  const file = join(folder, 'orders.json')
  await writeFile(file, JSON.stringify(orders), { mode: 0o600 })
  const program = fileURLToPath(new URL('./bare.ts', import.meta.url))
  return startChild([program, file], join(folder, 'bare.log'))
}

type Calls = Readonly<Record<Variant, () => Promise<void>>>

async function callsFor(
  workload: BenchWorkload,
  clients: Readonly<Record<Variant, Client>>,
  issuer: BenchIssuer,
): Promise<Calls> {
  const tokens = await issuer.tokens(workload.subject, 64)
  let turn = 0
  const nextToken = (): string => tokens[turn++ % tokens.length] ?? ''
  const { engine, purpose, params, mint } = workload
  const request = { purpose, reason: 'bench', ...(Object.keys(params).length === 0 ? {} : { params }) }
  const brokered = (client: Client) => async (): Promise<void> => {
    const headers = { authorization: `Bearer ${nextToken()}` }
    need(await client.send({ method: 'POST', path: '/v1/credentials', headers, body: request }), 'secret')
  }
  return {
    async straight() {
      const login = { role: engine, jwt: nextToken() }
      const auth = need(
        await clients.straight.send({ method: 'POST', path: '/v1/auth/jwt/login', body: login }),
        'auth',
      )
      const headers = { 'x-vault-token': String(need(auth, 'client_token')) }
      need(await clients.straight.send({ ...mint, path: `/v1/${mint.path}`, headers }), 'data')
    },
    bare: brokered(clients.bare),
    writ: brokered(clients.writ),
  }
}

/** A field of an answer; its absence means that something else than the work in question was measured. */
function need(body: unknown, field: string): unknown {
  const value: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, field) : undefined
  if (value === undefined || value === null) throw new Error(`an answer without ${field}`)
  return value
}

async function warmUp(call: () => Promise<void>, atOnce: number, calls: number): Promise<void> {
  for (let count = 0; count < calls; ) count += (await drive(call, atOnce, 1_000)).latenciesMs.length
}

const warmUpMs = 400

interface Contestants {
  readonly calls: Calls
  readonly children: Readonly<Record<'bare' | 'writ', Child>>
}

async function measureCell(
  engine: EngineName,
  atOnce: number,
  { calls, children }: Contestants,
  plan: IssuancePlan,
): Promise<IssuanceCell> {
  const samples: Record<Variant, Sample[]> = { straight: [], bare: [], writ: [] }
  for (const variant of variants) await drive(calls[variant], atOnce, warmUpMs)
  const before = { bare: children.bare.cpuMs(), writ: children.writ.cpuMs() }
  for (let round = 0; round < plan.rounds; round++) {
    // Each variant follows each other one equally often, so that none always finds the server in the same state.
    for (let i = 0; i < variants.length; i++) {
      const variant = variants[(i + round) % variants.length] ?? 'writ'
      samples[variant].push(await drive(calls[variant], atOnce, plan.sliceMs))
    }
  }
  const figures = {
    straight: figuresOf(samples.straight),
    bare: figuresOf(samples.bare),
    writ: figuresOf(samples.writ),
  }
  const ratios = (variant: Variant): Ratios => ({
    p50: ratioOf(samples.writ, samples[variant], p50Ms),
    p99: figures.writ.p99Ms / figures[variant].p99Ms,
    perSecond: ratioOf(samples.writ, samples[variant], perSecond),
  })
  const cpuMs = {
    bare: (children.bare.cpuMs() - before.bare) / figures.bare.count,
    writ: (children.writ.cpuMs() - before.writ) / figures.writ.count,
  }
  return { engine, atOnce, figures, toStraight: ratios('straight'), toBare: ratios('bare'), cpuMs }
}
