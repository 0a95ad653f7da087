import { inParallel } from '../../src/base/in-parallel.ts'
import { type Client, createClient } from './client.ts'
import { median, quantile } from './load.ts'
import { newFolder, policiesIn, removeFolder, startServe } from './serve.ts'
import type { BenchVault } from './vault.ts'
import { type BenchIssuer, type BenchWorkload, type EngineName, workloads, writePolicies } from './world.ts'

/** One grant at a time: what ending it costs through the broker, and what the call to Vault costs that does the same. */
export interface RevokeCell {
  readonly engine: EngineName
  readonly writ: { readonly p50Ms: number; readonly p99Ms: number }
  /** Absent where Vault has no call that ends such a secret. */
  readonly bare: { readonly p50Ms: number; readonly p99Ms: number } | undefined
  /** Median of the differences between neighbours, milliseconds. */
  readonly overheadMs: number
}

export interface RevokeFigures {
  readonly cells: readonly RevokeCell[]
  readonly storm: {
    readonly grants: number
    readonly writSeconds: number
    readonly bareSeconds: number
    /** Median over the rounds of one divided by the other in the same round. */
    readonly ratio: number
  }
  readonly task: { readonly grants: number; readonly p50Ms: number; readonly p99Ms: number }
}

export interface RevokePlan {
  readonly calls: number
  readonly stormGrants: number
  readonly stormRounds: number
  readonly tasks: number
}

const grantsOfTask = 20
const connections = 32
/** Before anything is measured: servers run for weeks. */
const warmCalls = 200

/** Revocations through `writ serve` and straight at the same server, in turns. */
export async function measureRevocations(
  vault: BenchVault,
  issuer: BenchIssuer,
  plan: RevokePlan,
  profileDir?: string,
): Promise<RevokeFigures> {
  const dir = await newFolder()
  const closers: (() => Promise<void>)[] = [() => removeFolder(dir)]
  try {
    await writePolicies(policiesIn(dir), issuer.jwk)
    const writ = await startServe({ dir, vaultAddress: vault.address, vaultToken: vault.brokerToken, profileDir })
    closers.push(() => writ.stop())
    const open = (address: string): Client => {
      const client = createClient(address, connections)
      closers.push(() => client.close())
      return client
    }
    const over = { writ: open(writ.url), straight: open(vault.address), issuer, vault }
    const cells: RevokeCell[] = []
    for (const workload of workloads) cells.push(await measureOne(over, workload, plan.calls))
    const database = workloads.filter(({ engine }) => engine === 'database')[0]
    if (database === undefined) throw new Error('no workload of the database')
    const storm = await measureStorm(over, database, plan)
    const task = await measureTasks(over, database, plan.tasks)
    return { cells, storm, task }
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

interface Over {
  readonly writ: Client
  readonly straight: Client
  readonly issuer: BenchIssuer
  readonly vault: BenchVault
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const inVault = (token: string) => ({ 'x-vault-token': token })

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await act()
  return performance.now() - startedMs
}

function textIn(body: unknown, ...path: readonly string[]): string {
  let at = body
  for (const key of path) at = typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined
  if (typeof at !== 'string') throw new Error(`an answer without ${path.join('.')}`)
  return at
}

const figures = (values: readonly number[]): { p50Ms: number; p99Ms: number } => {
  const sorted = Float64Array.from(values).sort()
  return { p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99) }
}

/** The request body of an issuance. */
const wanted = ({ purpose, params }: BenchWorkload, task?: string) => ({
  purpose,
  reason: 'bench',
  ...(Object.keys(params).length > 0 && { params }),
  ...(task !== undefined && { task }),
})

async function issue({ writ }: Over, workload: BenchWorkload, token: string, task?: string): Promise<string> {
  const body = wanted(workload, task)
  return textIn(await writ.send({ method: 'POST', path: '/v1/credentials', headers: bearer(token), body }), 'grant')
}

const mint = ({ straight, vault }: Over, { mint: call }: BenchWorkload): Promise<unknown> =>
  straight.send({ ...call, path: `/v1/${call.path}`, headers: inVault(vault.bareToken) })

/** The call that ends what was just minted, made ready; `undefined` where there is none. */
function endOf({ straight, vault }: Over, engine: EngineName, minted: unknown): (() => Promise<unknown>) | undefined {
  const headers = inVault(vault.rootToken)
  if (engine === 'database') {
    const body = { lease_id: textIn(minted, 'lease_id'), sync: true }
    return () => straight.send({ method: 'POST', path: '/v1/sys/leases/revoke', headers, body })
  }
  if (engine === 'pki') {
    const body = { serial_number: textIn(minted, 'data', 'serial_number') }
    return () => straight.send({ method: 'POST', path: '/v1/pki/revoke', headers, body })
  }
  return undefined
}

async function measureOne(over: Over, workload: BenchWorkload, calls: number): Promise<RevokeCell> {
  const tokens = await over.issuer.tokens(workload.subject, 16)
  const ours: number[] = []
  const theirs: number[] = []
  const differences: number[] = []
  for (let i = -warmCalls; i < calls; i++) {
    const token = tokens[(i + warmCalls) % tokens.length] ?? ''
    const grant = await issue(over, workload, token)
    const end = endOf(over, workload.engine, await mint(over, workload))
    const path = `/v1/grants/${grant}/revoke`
    const through = (): Promise<number> =>
      timed(() => over.writ.send({ method: 'POST', path, headers: bearer(token), body: {} }))
    const bare = (): Promise<number> => (end === undefined ? Promise.resolve(0) : timed(end))
    // Each goes first equally often.
    const [first, second] = i % 2 === 0 ? [await through(), await bare()] : [await bare(), await through()]
    const [own, other] = i % 2 === 0 ? [first, second] : [second, first]
    if (i < 0) continue
    ours.push(own)
    theirs.push(other)
    differences.push(own - other)
  }
  const hasBare = workload.engine === 'database' || workload.engine === 'pki'
  return {
    engine: workload.engine,
    writ: figures(ours),
    bare: hasBare ? figures(theirs) : undefined,
    overheadMs: median(differences),
  }
}

async function measureStorm(
  over: Over,
  workload: BenchWorkload,
  { stormGrants, stormRounds }: RevokePlan,
): Promise<RevokeFigures['storm']> {
  const tokens = await over.issuer.tokens(workload.subject, 16)
  const [owner = ''] = await over.issuer.tokens('alice@payments', 1)
  const ours: number[] = []
  const theirs: number[] = []
  async function through(): Promise<void> {
    await inParallel(Array(stormGrants).keys(), 16, async (i) => {
      await issue(over, workload, tokens[i % tokens.length] ?? '')
    })
    const body = { match: { workload: `bench-${workload.engine}` }, reason: 'bench', wait: '5m' }
    const order = { method: 'POST' as const, path: '/v1/revocations', headers: bearer(owner), body, expect: 200 }
    ours.push(await timed(() => over.writ.send(order)))
  }
  async function bare(): Promise<void> {
    await inParallel(Array(stormGrants).keys(), 16, async () => void (await mint(over, workload)))
    const path = `/v1/sys/leases/revoke-prefix/${workload.mint.path}`
    const headers = inVault(over.vault.rootToken)
    theirs.push(await timed(() => over.straight.send({ method: 'POST', path, headers, body: { sync: true } })))
  }
  for (let round = 0; round < stormRounds; round++) {
    for (const act of round % 2 === 0 ? [through, bare] : [bare, through]) await act()
  }
  return {
    grants: stormGrants,
    writSeconds: median(ours) / 1000,
    bareSeconds: median(theirs) / 1000,
    ratio: median(ours.map((own, round) => own / (theirs[round] ?? Number.NaN))),
  }
}

async function measureTasks(over: Over, workload: BenchWorkload, count: number): Promise<RevokeFigures['task']> {
  const tokens = await over.issuer.tokens(workload.subject, 16)
  const ends: number[] = []
  for (let i = 0; i < count; i++) {
    const headers = bearer(tokens[i % tokens.length] ?? '')
    const body = { purpose: workload.purpose, intent: 'bench' }
    const task = textIn(await over.writ.send({ method: 'POST', path: '/v1/tasks', headers, body }), 'task')
    await inParallel(Array(grantsOfTask).keys(), 8, async (n) => {
      await issue(over, workload, tokens[n % tokens.length] ?? '', task)
    })
    ends.push(await timed(() => over.writ.send({ method: 'POST', path: `/v1/tasks/${task}/end`, headers, body: {} })))
  }
  return { grants: grantsOfTask, ...figures(ends) }
}
