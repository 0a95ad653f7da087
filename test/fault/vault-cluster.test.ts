import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sha256Hex } from '../../src/base/digest.ts'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import { type AppRoleFiles, appRoleIn, enableAppRole } from '../support/app-role.ts'
import { baoAvailable } from '../support/bao.ts'
import { type BaoCluster, startBaoCluster } from '../support/bao-cluster.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { vaultApi } from '../support/vault-api.ts'

const clients = 4
const timeoutMs = 1_500

interface Held {
  readonly grant: string
  readonly secret: unknown
}

/** Issues and hands back all the time; everything that was acknowledged is kept for later. */
interface Traffic {
  readonly issued: Held[]
  readonly revoked: Held[]
  /** Answers that are neither yes nor "Vault is away": there must be none. */
  readonly odd: string[]
  refused(): number
  /** `Retry-After` of every refusal. */
  readonly retryAfter: (string | null)[]
  stop(): Promise<void>
}

describe.skipIf(!baoAvailable())('three real servers on raft storage, with traffic running', () => {
  let cluster: BaoCluster
  let world: World
  const proxies: TcpProxy[] = []
  const clock = shiftedClock()

  beforeAll(async () => {
    cluster = await startBaoCluster()
    for (const { address } of cluster.nodes) proxies.push(await startProxy(address))
    const leader = await cluster.leader()
    let auth: AppRoleFiles | undefined
    world = await startWorld({
      vault: { url: leader.address, token: cluster.rootToken },
      clock,
      async policies({ edit }) {
        await edit('workloads/checkout.yaml', (text) => text.replace(/limits: .*/, 'limits: { active: 100000 }'))
      },
      prepare: async (stack) => {
        await enableAppRole(cluster.api)
        auth = await appRoleIn(stack.dataDir, cluster.api)
      },
      config: (config) => ({
        ...config,
        reconcile: { ...config.reconcile, everyMs: 1_000 },
        vault: {
          ...config.vault,
          address: proxies.map(({ url }) => url),
          timeoutMs,
          auth: { method: 'approle', mount: 'approle', ...must(auth) },
        },
      }),
    })
  }, 180_000)
  afterAll(async () => {
    await world?.stop()
    for (const proxy of proxies) await proxy.stop()
    await cluster?.stop()
  }, 60_000)

  function traffic(): Traffic {
    let going = true
    let refusals = 0
    const seen = {
      issued: [] as Held[],
      revoked: [] as Held[],
      odd: [] as string[],
      retryAfter: [] as (string | null)[],
    }
    const away = ({ status, body, headers }: Awaited<ReturnType<World['api']>>, what: string): void => {
      refusals += 1
      seen.retryAfter.push(headers.get('retry-after'))
      if (status !== 503 || body.code !== 'vault_unavailable') seen.odd.push(`${what}: ${status} ${body.code}`)
    }
    async function client(handsBack: boolean): Promise<void> {
      for (let turn = 0; going; turn += 1) {
        // A pace, so that an outage does not end in a flood of refusals.
        await delay(handsBack ? 20 : 100)
        const answer = await world.issue('checkout', { purpose: 'read-orders' })
        if (answer.status !== 201) {
          away(answer, 'issue')
          continue
        }
        const held = { grant: answer.body.grant, secret: answer.body.secret }
        seen.issued.push(held)
        if (!handsBack || turn % 4 === 3) continue
        const ended = await world.api('POST', `/v1/grants/${held.grant}/revoke`, { as: 'checkout' })
        if (ended.status === 200) seen.revoked.push(held)
        else away(ended, 'revoke')
      }
    }
    // One only issues: revoking is given far longer than minting, and all of those who do both may be waiting for it at once.
    const running = Promise.all(Array.from({ length: clients + 1 }, (_, nth) => client(nth < clients)))
    return {
      ...seen,
      refused: () => refusals,
      async stop() {
        going = false
        await running
      },
    }
  }

  const ready = async () => (await world.api('GET', '/readyz')).status
  const grows = async (count: () => number, what: string, by = 3) => {
    const from = count()
    await eventually(async () => (count() >= from + by ? true : undefined), what, 60_000)
  }

  /** What the ledger says is held now. */
  async function active() {
    const grants = new Map<string, string>()
    const ending = new Set<string>()
    let unsettled = 0
    for (const entry of await world.entries()) {
      const grant = String(entry.grant)
      if (entry.kind === 'grant.intent') unsettled += 1
      if (entry.kind === 'grant.failed') unsettled -= 1
      if (entry.kind === 'grant.issued') {
        unsettled -= 1
        grants.set(grant, (entry.lease as { hash: string }).hash)
      }
      if (entry.kind === 'grant.ending') ending.add(grant)
      if (entry.kind === 'grant.ended') grants.delete(grant)
    }
    return { grants, ending, unsettled }
  }
  async function leaseHashes(): Promise<readonly string[]> {
    const role = 'database/creds/orders-ro/'
    const { status, body } = await cluster.api('LIST', `sys/leases/lookup/${role}`)
    if (status === 404) return []
    const { keys } = (body as { data: { keys: string[] } }).data
    return keys.map((key) => sha256Hex(canonicalJson({ type: 'lease', id: `${role}${key}` }))).sort()
  }

  /**
   * Runs traffic through an event: it goes on before, during where Vault can, and after, without a restart; then nothing that was
   * acknowledged is lost, and what Vault holds is what the ledger says is held.
   */
  async function through(event: (running: Traffic) => Promise<void>): Promise<Traffic> {
    const running = traffic()
    try {
      await grows(() => running.issued.length, 'traffic runs')
      await event(running)
      await grows(() => running.issued.length, 'issuing goes on', 8)
      await grows(() => running.revoked.length, 'revoking goes on')
    } catch (error) {
      const told = { odd: running.odd.slice(0, 5), refused: running.refused(), log: world.logged.slice(-15) }
      throw new Error(JSON.stringify(told), { cause: error })
    } finally {
      await running.stop()
    }
    expect(running.odd).toEqual([])
    await eventually(async () => ((await ready()) === 200 ? true : undefined), 'the broker says that it is ready')
    // Mints whose answer was lost are settled when Vault can no longer be working on them.
    clock.shift(121_000)
    await eventually(
      async () => {
        const { grants, unsettled } = await active()
        const hashes = [...grants.values()].sort()
        return unsettled === 0 && same(hashes, await leaseHashes()) ? true : undefined
      },
      'leases are the active grants',
      60_000,
    ).catch(async (error: unknown) => {
      const { grants, unsettled } = await active()
      expect({ unsettled, leases: await leaseHashes() }, String(error)).toEqual({
        unsettled: 0,
        leases: [...grants.values()].sort(),
      })
    })
    await acknowledgedHolds(running)
    return running
  }

  async function acknowledgedHolds({ issued, revoked }: Traffic): Promise<void> {
    for (const { grant, secret } of revoked) expect(await world.login(secret), grant).toMatch(/^28/)
    // One whose revocation was refused is kept and ends later: it may be on its way.
    const { ending, grants } = await active()
    const lost: string[] = []
    for (const { grant, secret } of issued) {
      if (ending.has(grant) || !grants.has(grant)) continue
      if ((await world.login(secret)) !== 'in') lost.push(grant)
    }
    expect(lost).toEqual([])
    const known = new Set((await world.entries({ kind: 'grant.issued' })).map(({ grant }) => grant))
    expect(issued.filter(({ grant }) => !known.has(grant))).toEqual([])
  }

  test('a step-down of the leader', { timeout: 180_000 }, async () => {
    const before = await cluster.leader()
    await through(async () => {
      await vaultApi(before.address, cluster.rootToken)('PUT', 'sys/step-down')
      await eventually(async () => ((await cluster.leader()) === before ? undefined : true), 'another leads', 60_000)
    })
  })

  test('the leader is sealed, and another takes over', { timeout: 180_000 }, async () => {
    const leader = await cluster.leader()
    await through(async () => {
      await leader.seal()
      await eventually(async () => ((await cluster.leader()) === leader ? undefined : true), 'another leads', 60_000)
    })
    await leader.unseal()
    await cluster.settled()
  })

  test('the leader is killed, and comes back', { timeout: 180_000 }, async () => {
    const leader = await cluster.leader()
    await through(async (running) => {
      await leader.kill()
      await eventually(async () => ((await cluster.leader()) === leader ? undefined : true), 'another leads', 60_000)
      await grows(() => running.issued.length, 'issuing goes on with two servers')
      await leader.start()
    })
    await cluster.settled()
  })

  test('the leader is out of reach: a standby passes mints on, and revocations are carried out once it is back', {
    timeout: 180_000,
  }, async () => {
    const leader = await cluster.leader()
    const proxy = must(proxies[cluster.nodes.indexOf(leader)])
    await through(async (running) => {
      proxy.set('refuse')
      await grows(() => running.issued.length, 'issuing goes on through a standby', 8)
      expect(await cluster.leader()).toBe(leader)
      proxy.set('pass')
    })
  })

  test('every server is sealed: nothing is issued, and it goes on when they are unsealed', {
    timeout: 240_000,
  }, async () => {
    const running = await through(async (seen) => {
      const leader = await cluster.leader()
      const others = cluster.nodes.filter((node) => node !== leader)
      await leader.seal()
      for (const node of others) await node.seal()
      await grows(seen.refused, 'issuing is refused')
      const issued = seen.issued.length
      await grows(seen.refused, 'and stays refused', 20)
      expect(seen.issued.length).toBe(issued)
      expect(await ready()).toBe(503)
      for (const node of cluster.nodes) await node.unseal()
      await cluster.settled()
    })
    for (const seconds of running.retryAfter) expect(Number(seconds)).toBeGreaterThan(0)
  })

  test('the network to all of them is cut', { timeout: 180_000 }, async () => {
    await through(async (running) => {
      for (const proxy of proxies) proxy.set('stall')
      await grows(running.refused, 'issuing is refused')
      for (const proxy of proxies) proxy.set('refuse')
      await grows(running.refused, 'issuing is still refused', 10)
      for (const proxy of proxies) proxy.set('pass')
    })
  })

  test('the leader freezes with connections open', { timeout: 180_000 }, async () => {
    const leader = await cluster.leader()
    try {
      await through(async (running) => {
        leader.freeze()
        await grows(running.refused, 'calls to it are given up', 1)
        await grows(() => running.issued.length, 'issuing goes on while it is frozen')
        leader.thaw()
      })
    } finally {
      leader.thaw()
    }
    await cluster.settled()
  })

  test('a rate limit of Vault is passed on as 503 with Retry-After, and revocations are tried again', {
    timeout: 180_000,
  }, async () => {
    const running = await through(async (seen) => {
      await cluster.api('POST', 'sys/quotas/rate-limit/writ', { rate: 2, interval: '1s' })
      await grows(seen.refused, 'Vault refuses some', 10)
      await cluster.api('DELETE', 'sys/quotas/rate-limit/writ')
    })
    for (const seconds of running.retryAfter) expect(Number(seconds)).toBeGreaterThan(0)
  })

  test('the broker’s token is revoked from outside: a new one is made, and what hung on the old has ended', {
    timeout: 180_000,
  }, async () => {
    const { body } = await world.issue('checkout', { purpose: 'read-orders' })
    const tokens = async () =>
      ((await world.api('GET', '/readyz')).body.vault as { tokens: unknown }).tokens as readonly {
        readonly generation: number
      }[]
    const generation = (await tokens()).at(-1)?.generation ?? 0
    await through(async () => {
      const { body: listed } = await cluster.api('LIST', 'auth/token/accessors')
      const { keys } = (listed as { data: { keys: string[] } }).data
      for (const accessor of keys) {
        const looked = await cluster.api('POST', 'auth/token/lookup-accessor', { accessor })
        const { data } = looked.body as { data?: { display_name?: string } }
        if (data?.display_name === 'approle') await cluster.api('POST', 'auth/token/revoke-accessor', { accessor })
      }
    })
    // Nobody told the broker: it found out by comparing.
    const [found] = await world.entries({ grant: String(body.grant), kind: 'grant.ended' })
    expect(found).toMatchObject({ cause: 'found_gone', outcome: 'gone' })
    expect(await world.login(body.secret)).toMatch(/^28/)
    const now = await tokens()
    expect(now).toHaveLength(1)
    expect(now[0]?.generation).toBeGreaterThan(generation)
    expect(world.logged.map(({ event }) => event)).toContain('vault.token_lost')
  })
})

const same = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((each, at) => each === other[at])

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('it is not there yet')
  return value
}
