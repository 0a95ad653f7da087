import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { strictly, vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'
import { type Call, type Client, createClient } from './client.ts'
import { type EngineCase, startCases } from './engine-cases.ts'
import { drive, type Figures, figuresOf, p50Ms, perSecond, ratioOf, type Sample } from './load.ts'
import { newFolder, policiesIn, removeFolder, startServe } from './serve.ts'
import type { BenchVault } from './vault.ts'
import { audience, type BenchIssuer, writePolicies } from './world.ts'

const variants = ['call', 'straight', 'writ'] as const
type Variant = (typeof variants)[number]

/**
 * One engine at one number of calls at once: the bare call to Vault with a token that is there, a login and that call, and the broker.
 * Ratios are of the broker to the login and the call, in the same rounds.
 */
export interface EngineCell {
  readonly engine: string
  readonly leases: boolean
  readonly atOnce: number
  readonly figures: Readonly<Record<Variant, Figures>>
  readonly p50: number
  readonly perSecond: number
}

export interface EngineFigures {
  readonly cells: readonly EngineCell[]
  readonly missing: readonly string[]
}

interface EnginePlan {
  readonly rounds: number
  readonly sliceMs: number
  readonly warmMs: number
}

/** Every engine that this machine can run, beside those whose minting is measured at length. Needs a real server. */
export async function measureEngines(vault: BenchVault, issuer: BenchIssuer, plan: EnginePlan): Promise<EngineFigures> {
  const api = strictly(vaultApi(vault.address, vault.rootToken))
  const started = await startCases(api)
  const dir = await newFolder()
  const closers: (() => Promise<void>)[] = [() => removeFolder(dir), started.stop]
  try {
    await writePolicies(policiesIn(dir), issuer.jwk)
    await mkdir(join(policiesIn(dir), 'engines'))
    for (const each of started.cases)
      await writeFile(join(policiesIn(dir), 'engines', `${each.name}.yaml`), documents(each))
    const { broker, caller } = await tokensFor(api, started.cases)
    const writ = await startServe({ dir, vaultAddress: vault.address, vaultToken: broker })
    closers.push(() => writ.stop())
    const clients = { vault: createClient(vault.address, 16), writ: createClient(writ.url, 16) }
    closers.push(clients.vault.close, clients.writ.close)
    const cells: EngineCell[] = []
    for (const each of started.cases) {
      await api('POST', `auth/jwt/role/${each.name}`, roleOf(each))
      const calls = await callsOf(each, { ...clients, caller }, issuer)
      // Servers run for weeks, so what is measured is compiled code: V8 takes its time over that, and the first engine pays for all.
      if (cells.length === 0) await drive(calls.writ, 16, 4 * plan.warmMs)
      for (const variant of variants) await drive(calls[variant], 4, plan.warmMs)
      for (const atOnce of [1, 16]) cells.push(await measureCell(each, atOnce, calls, plan))
    }
    return { cells, missing: started.missing }
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

type Calls = Readonly<Record<Variant, () => Promise<void>>>

async function measureCell(
  { name: engine, leases }: EngineCase,
  atOnce: number,
  calls: Calls,
  { rounds, sliceMs }: EnginePlan,
): Promise<EngineCell> {
  const samples: Record<Variant, Sample[]> = { call: [], straight: [], writ: [] }
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < variants.length; i++) {
      const variant = variants[(i + round) % variants.length] ?? 'writ'
      samples[variant].push(await drive(calls[variant], atOnce, sliceMs))
    }
  }
  return {
    engine,
    leases,
    atOnce,
    figures: { call: figuresOf(samples.call), straight: figuresOf(samples.straight), writ: figuresOf(samples.writ) },
    p50: ratioOf(samples.writ, samples.straight, p50Ms),
    perSecond: ratioOf(samples.writ, samples.straight, perSecond),
  }
}

interface Parties {
  readonly vault: Client
  readonly writ: Client
  /** A token that may make all of the calls. */
  readonly caller: string
}

async function callsOf(each: EngineCase, { vault, writ, caller }: Parties, issuer: BenchIssuer): Promise<Calls> {
  const tokens = await issuer.tokens(subjectOf(each), 32)
  let turn = 0
  const nextToken = (): string => tokens[turn++ % tokens.length] ?? ''
  const { method, path, body } = each.mint
  const mint = async (token: string): Promise<void> => {
    const call: Call = { method, path: `/v1/${path}`, headers: { 'x-vault-token': token }, ...(body && { body }) }
    const { data, auth } = (await vault.send(call)) as { data?: unknown; auth?: unknown }
    if ((data ?? auth ?? null) === null) throw new Error(`${path} made nothing`)
  }
  return {
    call: () => mint(caller),
    async straight() {
      const login = { role: each.name, jwt: nextToken() }
      await mint(
        text(await vault.send({ method: 'POST', path: '/v1/auth/jwt/login', body: login }), 'auth', 'client_token'),
      )
    },
    async writ() {
      const headers = { authorization: `Bearer ${nextToken()}` }
      const { params } = each
      const request = { purpose: `use-${each.name}`, reason: 'bench', ...(params && { params }) }
      const { secret } = (await writ.send({ method: 'POST', path: '/v1/credentials', headers, body: request })) as {
        secret?: unknown
      }
      if (secret === undefined) throw new Error(`${each.name}: an answer without a secret`)
    },
  }
}

const subjectOf = ({ name }: EngineCase): string => `system:serviceaccount:bench:engine-${name}`

const roleOf = (each: EngineCase): object => ({
  role_type: 'jwt',
  user_claim: 'sub',
  bound_audiences: [audience],
  bound_subject: subjectOf(each),
  token_policies: [`bench-engine-${each.name}`],
  token_ttl: '1h',
})

const mintLine = ({ mint }: EngineCase): string =>
  `path "${mint.path}" { capabilities = ["${mint.method === 'GET' ? 'read' : 'update'}"] }`

/** A token of the broker, which may do what its engines need and no more, and one of a caller without it. */
async function tokensFor(
  api: ReturnType<typeof strictly>,
  cases: readonly EngineCase[],
): Promise<{ readonly broker: string; readonly caller: string }> {
  for (const each of cases) await api('POST', `sys/policies/acl/bench-engine-${each.name}`, { policy: mintLine(each) })
  await api('POST', 'sys/policies/acl/bench-needs', { policy: cases.flatMap(({ needs = [] }) => needs).join('\n') })
  const minting = cases.map(({ name }) => `bench-engine-${name}`)
  const make = async (policies: readonly string[]): Promise<string> =>
    text((await api('POST', 'auth/token/create', { policies, period: '1h' })).body, 'auth', 'client_token')
  return {
    broker: await make(['writ-broker', 'writ-wrapped', 'bench-needs', ...minting]),
    caller: await make(minting),
  }
}

const documents = (each: EngineCase): string => `kind: Credential
name: bench-${each.name}
environment: prod
sensitivity: medium
data: [bench]
${each.credential}
---
kind: Workload
name: bench-engine-${each.name}
type: service
system: bench
owner: payments
backup: platform
custodian: platform
status: active
signoff: { by: alice@payments, on: ${new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)} }
match: { issuer: bench, claims: { sub: "${subjectOf(each)}" } }
purposes:
  - id: use-${each.name}
    because: Measure what a credential costs
    environment: prod
    credentials: [bench-${each.name}]
    ttl: { max: 1h }
    limits: { active: 1000000, per_minute: 1000000 }
`
