import { inspect } from 'node:util'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Engine, LeaseHandle, Minted, MintOrder, MintTarget } from '../../src/engines/engine.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import { field } from '../support/leased-engine.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { type VaultApi, vaultApi } from '../support/vault-api.ts'
import { setUpVault, type VaultSetUp } from '../support/vault-setup.ts'

export { field, handleOf } from '../support/leased-engine.ts'

/** A Vault-compatible server with nothing set up. */
export interface ContractServer {
  readonly address: string
  /** A token that may do anything. */
  readonly rootToken: string
  stop(): Promise<void>
}

/** Who the access tokens of the contract say has made them. */
export const contractIssuer = 'https://writ.example.com'

/** What the parts of the contract share. Everything is real: the server, PostgreSQL, the policies of `docs/vault-policy.md`. */
export interface ContractWorld {
  readonly server: ContractServer
  readonly postgres: TestPostgres
  readonly setUp: VaultSetUp
  /** Looks behind the broker's back. */
  readonly root: VaultApi
  readonly session: VaultSession
  engine(kind: string): Engine
  /** An engine over a session whose token lacks every line about `orders-ro`. */
  reduced(kind: string): Engine
  order(target: Partial<MintTarget> & { readonly engine: string }, over?: Partial<MintOrder>): MintOrder
  mint(order: MintOrder): Promise<Minted>
  /** The error of a call that must fail; every one is searched for secrets at the end. */
  failure(call: Promise<unknown>): Promise<unknown>
  /** Adds a text that no error may hold. */
  canary(...secrets: readonly string[]): void
}

/** Sets the server up and opens the sessions of the broker. */
export async function createWorld(
  server: ContractServer,
  postgres: TestPostgres,
  errors: string[],
  canaries: Set<string>,
): Promise<ContractWorld> {
  const root = vaultApi(server.address, server.rootToken)
  const setUp = await setUpVault(root, postgres)
  const open = (token: string): VaultSession =>
    createVaultSession({
      address: server.address,
      auth: { method: 'token', token: new Secret(token) },
      clock: systemClock,
      log: silentLog,
    })
  const session = open(setUp.brokerToken)
  await session.start()
  const reducedSession = open(setUp.reducedToken)
  const engines = createEngines(session, systemClock, { issuer: contractIssuer })
  const reducedEngines = createEngines(reducedSession, systemClock)
  const found = (engine: Engine | undefined): Engine => {
    if (engine === undefined) throw new Error('no such engine')
    return engine
  }
  const canary = (...secrets: readonly string[]): void => {
    for (const secret of secrets) canaries.add(secret)
  }
  canary(setUp.brokerToken, setUp.reducedToken, setUp.secretId, postgres.adminPassword, 'canary-')
  return {
    server,
    postgres,
    setUp,
    root,
    session: { ...session, close: async () => void (await Promise.all([session.close(), reducedSession.close()])) },
    engine: (kind) => found(engines.get(kind)),
    reduced: (kind) => found(reducedEngines.get(kind)),
    order: (target, over = {}) => orderFor(target, over),
    async mint(order) {
      const minted = await found(engines.get(order.target.engine)).mint(order)
      canary(...secretsOf(minted))
      return minted
    },
    async failure(call) {
      try {
        await call
      } catch (error) {
        errors.push(inspect(error, { depth: 12, showHidden: true }))
        return error
      }
      throw new Error('the call succeeded, and it must not')
    },
    canary,
  }
}

const ids = 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3'

export function orderFor(
  target: Partial<MintTarget> & { readonly engine: string },
  over: Partial<MintOrder>,
): MintOrder {
  return {
    grant: ids as MintOrder['grant'],
    target: { credential: 'under-test', mount: target.engine, role: 'none', params: {}, ...target },
    names: {
      workload: 'checkout',
      grant: ids,
      purpose: 'read-orders',
      environment: 'prod',
      owner: 'payments',
      task: '',
    },
    callerParams: {},
    ttlSeconds: 120,
    delivery: 'plain',
    ...over,
  }
}

function secretsOf(minted: Minted): readonly string[] {
  const {
    password,
    private_key: privateKey,
    token,
    client_token: clientToken,
    access_token: accessToken,
  } = minted.secret.reveal()
  const handle = minted.handle?.reveal()
  return [
    password,
    privateKey,
    token,
    clientToken,
    accessToken,
    handle === undefined || handle.type === 'certificate' ? undefined : handle.id,
  ].filter((value) => typeof value === 'string')
}

/** The leases an engine lists, as handles. */
export async function listedBy(engine: Engine, target: MintTarget): Promise<readonly LeaseHandle[]> {
  return [...((await engine.leases(target)) ?? [])].map((handle) => handle.reveal())
}

/** Unwraps as the caller does: with the wrapping token alone. */
export async function unwrap(world: ContractWorld, minted: Minted): Promise<{ status: number; body: unknown }> {
  return vaultApi(world.server.address, field(minted, 'token'))('POST', 'sys/wrapping/unwrap')
}
