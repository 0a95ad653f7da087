import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { appRoleIn, enableAppRole } from '../support/app-role.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { type ServeFolder, type Serving, serveFolder, startServe } from '../support/serve.ts'
import { strictly, vaultApi } from '../support/vault-api.ts'

interface TokenView {
  readonly generation: number
  readonly current: boolean
  readonly grants: number
}

/** Everything in real time, with Vault tokens that live for seconds: what is kept alive is kept alive by renewal alone. */
describe.skipIf(!baoAvailable())('needs bao or vault on PATH: the Vault tokens of the broker', () => {
  let world: World
  let folder: ServeFolder
  let serving: Serving | undefined
  beforeAll(async () => {
    world = await startWorld({
      vault: 'bao-raft',
      broker: false,
      async policies({ edit }) {
        await edit('workloads/checkout.yaml', (text) => text.replace(/limits: .*/, 'limits: { active: 1000 }'))
      },
    })
    await enableAppRole(strictly(world.root))
  })
  afterEach(async () => {
    serving?.signal('SIGKILL')
    await serving?.exited
    await folder?.close()
  })
  afterAll(async () => world?.stop())

  async function serveWith(settings: object): Promise<Serving> {
    const api = strictly(vaultApi(world.stack.vault.address, world.stack.vault.token))
    const auth = { method: 'approle', ...(await appRoleIn(world.stack.dataDir, api, settings)) }
    folder = await serveFolder(world.stack, world.policies.dir, { vault: { address: world.stack.vault.address, auth } })
    return startServe(folder)
  }
  const issue = async (ttl?: string) => {
    const body = { purpose: 'read-orders', ...(ttl === undefined ? {} : { ttl }) }
    const answer = await callApi(serving?.url ?? '', 'POST', '/v1/credentials', {
      token: await world.token('checkout'),
      body,
    })
    return answer
  }
  const tokens = async () => {
    const { body } = await callApi(serving?.url ?? '', 'GET', '/readyz')
    return (body.vault as unknown as { tokens: readonly TokenView[] }).tokens
  }
  /** What Vault knows of the tokens that AppRole gave. */
  async function vaultTokens(): Promise<readonly { readonly issue_time: string; readonly ttl: number }[]> {
    const { body } = await world.root('LIST', 'auth/token/accessors')
    const found = []
    for (const accessor of (body as { data: { keys: string[] } }).data.keys) {
      const { status, body: looked } = await world.root('POST', 'auth/token/lookup-accessor', { accessor })
      const data = (looked as { data?: { display_name: string; issue_time: string; ttl: number } }).data
      if (status === 200 && data?.display_name === 'approle') found.push(data)
    }
    return found
  }

  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'are gone on with after %s, and credentials live on beyond what was left of the token',
    { timeout: 120_000 },
    async (signal) => {
      const startedMs = Date.now()
      serving = await serveWith({ token_period: '8s', token_max_ttl: 0, token_ttl: 0 })
      const { body: held } = await issue()
      expect(await world.login(held.secret)).toBe('in')
      serving.signal(signal)
      await serving.exited
      const file = join(folder.ledger, 'vault-tokens')
      expect((await stat(file)).mode & 0o777).toBe(0o600)
      expect(await readFile(file, 'latin1')).toMatch(/^eyJ[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+\n$/)

      serving = await startServe(folder)
      // Three periods: the token was renewed again and again since.
      await eventually(
        async () =>
          (await vaultTokens()).some(
            ({ issue_time }) => Date.parse(issue_time) > startedMs && Date.now() - Date.parse(issue_time) > 24_000,
          )
            ? true
            : undefined,
        'the token outlives its period',
        60_000,
      )
      expect(await world.login(held.secret)).toBe('in')
      expect(await tokens()).toEqual([expect.objectContaining({ generation: 1, current: true, grants: 1 })])
      const again = await issue()
      expect(again.status).toBe(201)
      for (const line of serving.stderr().split('\n')) expect(line).not.toMatch(/\bs\.[A-Za-z0-9]{24}\b/)
    },
  )

  test('are replaced when the file is lost or spoilt, and that is said', { timeout: 60_000 }, async () => {
    serving = await serveWith({ token_period: '1h' })
    expect((await issue()).status).toBe(201)
    serving.signal('SIGKILL')
    await serving.exited
    await writeFile(join(folder.ledger, 'vault-tokens'), 'eyJ.spoilt')
    serving = await startServe(folder)
    await eventually(async () => ((await issue()).status === 201 ? true : undefined), 'issuing goes on')
    // Its number is not used again: a grant of the ledger names it.
    expect(await tokens()).toEqual([expect.objectContaining({ generation: 2, current: true })])
    expect(serving.stderr()).toContain('vault.tokens_unreadable')
  })

  test('with a greatest life are superseded in time, and no credential ends before its time', {
    timeout: 120_000,
  }, async () => {
    serving = await serveWith({ token_period: 0, token_ttl: '6s', token_max_ttl: '30s' })
    const held: { readonly secret: unknown; readonly grant: string; readonly endsMs: number }[] = []
    const early = new Set<string>()
    const capped = new Set<string>()
    const seen = new Set<number>()
    async function look(): Promise<void> {
      const { status, body } = await issue('8s')
      expect(status).toBe(201)
      const grant = String(body.grant)
      if ((body.ttl_capped_by as string[]).includes('vault')) capped.add(grant)
      held.push({ secret: body.secret, grant, endsMs: Date.parse(String(body.expires_at)) })
      for (const { secret, grant, endsMs } of held) {
        // Vault counts whole seconds, and ends a user within moments of its time.
        if (endsMs - Date.now() > 1_500 && (await world.login(secret)) !== 'in' && endsMs - Date.now() > 1_000)
          early.add(grant)
      }
      for (const { generation } of await tokens()) seen.add(generation)
    }
    await eventually(
      async () => {
        await look()
        return seen.size >= 4 ? true : undefined
      },
      'three new logins',
      90_000,
    )
    expect([...early]).toEqual([])
    expect([...capped]).toEqual([])
    expect(held.length).toBeGreaterThan(20)
  })
})
