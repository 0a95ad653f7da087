import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { policyText } from '../../src/dev/setup.ts'
import type { Engine, Minted, MintOrder, MintTarget } from '../../src/engines/engine.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { startBao } from './bao.ts'
import { strictly, type VaultApi, vaultApi } from './vault-api.ts'
import { text } from './vault-setup.ts'

/** A real server, and an engine whose token may do exactly what that engine says it needs. */
export interface BaoEngine {
  readonly address: string
  readonly root: VaultApi
  readonly engine: Engine
  order(over?: Partial<MintOrder>, target?: Partial<MintTarget>): MintOrder
  mint(over?: Partial<MintOrder>): Promise<Minted>
  stop(): Promise<void>
}

const id = 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3' as MintOrder['grant']
const names = { workload: 'w', grant: id, purpose: 'p', environment: 'prod', owner: 'o', task: '' }

/** Starts `bao`, lets `setUp` make mount and roles with a token that may do anything, and opens the session of the broker. */
export async function startBaoEngine(
  target: Omit<MintTarget, 'credential'>,
  setUp: (root: VaultApi) => Promise<void>,
): Promise<BaoEngine> {
  const bao = await startBao({ mode: 'dev' })
  try {
    const root = strictly(vaultApi(bao.address, bao.rootToken))
    await setUp(root)
    const whole: MintTarget = { credential: 'under-test', ...target }
    const open = (token: string) => {
      const auth = { method: 'token', token: new Secret(token) } as const
      const session = createVaultSession({ address: bao.address, auth, clock: systemClock, log: silentLog })
      const engine = createEngines(session, systemClock).get(target.engine)
      if (engine === undefined) throw new Error(`no engine ${target.engine}`)
      return { session, engine }
    }
    const { session, engine } = open(await tokenFor(root, open(bao.rootToken).engine, [whole]))
    await session.start()
    const order: BaoEngine['order'] = (over, at) => ({
      grant: id,
      target: { ...whole, ...at },
      names,
      callerParams: {},
      ttlSeconds: 120,
      delivery: 'plain',
      ...over,
    })
    return {
      address: bao.address,
      root: vaultApi(bao.address, bao.rootToken),
      engine,
      order,
      mint: (over) => engine.mint(order(over)),
      async stop() {
        await session.close()
        await bao.stop()
      },
    }
  } catch (error) {
    await bao.stop()
    throw error
  }
}

/** A token of the broker for those targets: `needs` that lacks a line fails the tests that run under it. */
export async function tokenFor(root: VaultApi, engine: Engine, targets: readonly MintTarget[]): Promise<string> {
  const needs = targets.flatMap((target) => [...engine.needs(target, 'plain'), ...engine.needs(target, 'wrapped')])
  await root('POST', 'sys/policies/acl/writ-broker', { policy: policyText(needs) })
  const minting = needs.filter(({ path }) => targets.some(({ mount }) => path.startsWith(`${mount}/`)))
  await root('POST', 'sys/policies/acl/writ-wrapped', { policy: policyText(minting) })
  const { body } = await root('POST', 'auth/token/create', { policies: ['writ-broker', 'writ-wrapped'], period: '1h' })
  return text(body, 'auth', 'client_token')
}
