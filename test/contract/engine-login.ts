import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Minted } from '../../src/engines/engine.ts'
import type { Generation, GenerationStore } from '../../src/engines/generation.ts'
import type { VaultAuthMethod } from '../../src/engines/login.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createTransport } from '../../src/engines/transport.ts'
import { createVaultSession, type VaultSession, type VaultSessionOptions } from '../../src/engines/vault-session.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { text } from '../support/vault-setup.ts'
import { type ContractWorld, handleOf } from './engine-world.ts'

/** How the broker logs in, and what becomes of its tokens. */
export function loginContract(use: () => ContractWorld): void {
  /** Real time for what goes over the network, the given clock for everything else. */
  function open(auth: VaultAuthMethod, over: Partial<VaultSessionOptions> = {}) {
    const { server } = use()
    const real = createTransport({ address: server.address, clock: systemClock, deadlineMs: 10_000 })
    const asked: string[] = []
    const session = createVaultSession({
      address: server.address,
      auth,
      clock: systemClock,
      log: silentLog,
      ...over,
      transport: {
        ...real,
        send(call) {
          asked.push(new URL(call.uri).pathname.replace('/v1/', ''))
          return real.send(call)
        },
      },
    })
    return { session, asked, logins: () => asked.filter((path) => path.endsWith('/login')).length }
  }
  const appRole = (): VaultAuthMethod => {
    const { roleId, secretId } = use().setUp
    return { method: 'approle', ids: async () => ({ roleId, secretId: new Secret(secretId) }) }
  }
  /** A role of its own with those settings. */
  async function roleWith(settings: object): Promise<VaultAuthMethod> {
    const { root } = use()
    const role = `auth/approle/role/r${Math.random().toString(36).slice(2)}`
    await root('POST', role, { token_policies: ['writ-broker', 'writ-wrapped'], ...settings })
    const roleId = text((await root('GET', `${role}/role-id`)).body, 'data', 'role_id')
    const secretId = text((await root('POST', `${role}/secret-id`, {})).body, 'data', 'secret_id')
    use().canary(secretId)
    return { method: 'approle', ids: async () => ({ roleId, secretId: new Secret(secretId) }) }
  }
  const order = () => use().order({ engine: 'database', role: 'orders-ro' })
  async function mint(session: VaultSession, ttlSeconds = 120): Promise<Minted> {
    const minted = await createEngines(session, systemClock)
      .get('database')
      ?.mint({ ...order(), ttlSeconds })
    if (minted === undefined) throw new Error('no such engine')
    return minted
  }
  async function leaseTtl(minted: Minted): Promise<number | undefined> {
    const handle = handleOf(minted)
    if (handle.type !== 'lease') throw new Error('it has no lease')
    const { status, body } = await use().root('POST', 'sys/leases/lookup', { lease_id: handle.id })
    return status === 200 ? (body as { data: { ttl: number } }).data.ttl : undefined
  }
  async function accessorOf(session: VaultSession): Promise<string> {
    const { data } = await session.read('auth/token/lookup-self')
    return String(data?.accessor)
  }
  const lives = async (accessor: string) =>
    (await use().root('POST', 'auth/token/lookup-accessor', { accessor })).status === 200
  const numbers = (session: VaultSession) => session.generations().map(({ generation }) => generation)
  const memory = (): GenerationStore & { kept: readonly Generation[] } => {
    const store = {
      kept: [] as readonly Generation[],
      load: async () => store.kept,
      async save(generations: readonly Generation[]) {
        store.kept = generations.map((generation) => ({ ...generation }))
      },
    }
    return store
  }
  /** Moves that clock on and waits until what fell due has been answered. */
  const moved = (clock: FakeClock, ms: number, done: () => boolean) =>
    clock.advance(ms).then(() => expect.poll(done, { timeout: 10_000 }).toBe(true))

  describe('a login with a token that a platform signed', () => {
    test('is let in, mints, and reads the token anew at each login', async () => {
      const { setUp } = use()
      let reads = 0
      const jwt = async () => {
        reads += 1
        return new Secret(await setUp.jwt())
      }
      const { session } = open({ method: 'jwt', mount: 'ci', role: 'writ', jwt })
      await session.start()
      expect(session.ready()).toEqual({ ok: true, detail: 'logged in' })
      expect((await mint(session)).generation).toBe(1)
      await session.renewLogin()
      expect(numbers(session)).toEqual([1, 2])
      expect(reads).toBe(2)
      await session.close()
    })

    test.each([
      ['for another audience', { aud: 'other' }],
      ['of another issuer', { iss: 'https://other.example.com' }],
      ['of another subject', { sub: 'other' }],
    ])('is refused %s, and says what to look at', async (_, claims) => {
      const { setUp, failure } = use()
      const token = await setUp.jwt(claims)
      use().canary(token)
      const { session } = open({ method: 'jwt', mount: 'ci', role: 'writ', jwt: async () => new Secret(token) })
      await session.start()
      expect(session.ready().detail).toMatch(/auth\/ci\/login: .*login refused.*role of the login method/)
      expect(await failure(session.read('x'))).toMatchObject({ code: 'vault_unavailable', kind: 'not_logged_in' })
      await session.close()
    })

    test('names a role that there is not', async () => {
      const { setUp } = use()
      const jwt = async () => new Secret(await setUp.jwt())
      const { session } = open({ method: 'jwt', mount: 'ci', role: 'nonesuch', jwt })
      await session.start()
      expect(session.ready().detail).toContain('unknown role')
      await session.close()
    })
  })

  describe('a token that the broker cannot work with', () => {
    test.each([
      ['a batch token', { token_type: 'batch', token_ttl: '5m' }, /batch token.*token_type=service/],
      [
        'a token for so many calls',
        { token_num_uses: 20, token_ttl: '5m' },
        /limited number of calls.*token_num_uses=0/,
      ],
    ])('is refused with the reason: %s', async (_, settings, said) => {
      const { session } = open(await roleWith(settings))
      await session.start()
      expect(session.ready()).toEqual({ ok: false, detail: expect.stringMatching(said) })
      await expect(session.read('x')).rejects.toMatchObject({ kind: 'not_logged_in' })
      await session.close()
    })
  })

  describe('a token that has a greatest life', () => {
    test('bounds what is minted under it', async () => {
      const { session } = open(await roleWith({ token_ttl: '30s', token_max_ttl: '60s' }))
      await session.start()
      const beforeMs = Date.now()
      const minted = await mint(session)
      expect(minted.expiresAtMs).toBeGreaterThan(beforeMs + 45_000)
      expect(minted.expiresAtMs).toBeLessThan(beforeMs + 56_000)
      expect(await leaseTtl(minted)).toBeLessThanOrEqual(55)
      // Measuring it has not made it longer than its role gives.
      const { data } = await session.read('auth/token/lookup-self')
      expect(data?.ttl).toBeLessThanOrEqual(30)
      const [generation] = session.generations()
      expect((generation?.endsAtMs ?? 0) - beforeMs).toBeGreaterThan(55_000)
      await session.close()
    })

    test.each([
      ['a period without an end', { token_period: '30s' }, undefined],
      ['a period and an end', { token_period: '30s', token_explicit_max_ttl: '10m' }, 600_000],
      ['an end of its own', { token_ttl: '30s', token_explicit_max_ttl: '5m' }, 300_000],
      ['the end of the mount alone', { token_ttl: '30s' }, 2_764_800_000],
    ])('is measured: %s', async (_, settings, lifeMs) => {
      const { session } = open(await roleWith(settings))
      const startedMs = Date.now()
      await session.start()
      const [generation] = session.generations()
      if (lifeMs === undefined) expect(generation?.endsAtMs).toBeUndefined()
      else expect(Math.abs((generation?.endsAtMs ?? 0) - startedMs - lifeMs)).toBeLessThan(5_000)
      expect((generation?.expiresAtMs ?? 0) - startedMs).toBeLessThan(35_000)
      await session.close()
    })
  })

  describe('an earlier token', () => {
    test('is kept, with its leases, until no grant hangs on it, and is then revoked alone', async () => {
      const clock = fakeClock(Date.now())
      const grants = new Map([[1, 1]])
      const hanging = { count: async (generation: number) => grants.get(generation) ?? 0, highest: () => 0 }
      const { session, asked } = open(appRole(), { clock, hanging })
      await session.start()
      const first = { minted: await mint(session), accessor: await accessorOf(session) }
      await session.renewLogin()
      const second = { minted: await mint(session), accessor: await accessorOf(session) }
      expect([first.minted.generation, second.minted.generation]).toEqual([1, 2])
      expect(second.accessor).not.toBe(first.accessor)

      const renewals = () => asked.filter((path) => path === 'auth/token/renew-self').length
      const before = renewals()
      // Both are renewed: the role gives them an hour.
      await moved(clock, 2_400_000, () => renewals() >= before + 2)
      expect(numbers(session)).toEqual([1, 2])
      expect(await leaseTtl(first.minted)).toBeGreaterThan(0)

      grants.set(1, 0)
      await moved(clock, 60_000, () => session.generations().length === 1)
      expect(await lives(first.accessor)).toBe(false)
      // OpenBao drops the leases of a token from a queue.
      await expect.poll(() => leaseTtl(first.minted), { timeout: 10_000 }).toBeUndefined()
      expect(await lives(second.accessor)).toBe(true)
      expect(await leaseTtl(second.minted)).toBeGreaterThan(0)
      await session.close()
    })

    test('is not let go of while a mint under it may still be on its way to the ledger', async () => {
      const clock = fakeClock(Date.now())
      const { session } = open(appRole(), { clock })
      await session.start()
      const accessor = await accessorOf(session)
      await session.renewLogin()
      await clock.advance(120_000)
      expect(numbers(session)).toEqual([1, 2])
      await moved(clock, 120_000, () => session.generations().length === 1)
      expect(await lives(accessor)).toBe(false)
      await session.close()
    })
  })

  describe('a restart', () => {
    test('goes on with the token it had, without a login, and its leases stay', async () => {
      const store = memory()
      const before = open(appRole(), { store })
      await before.session.start()
      const minted = await mint(before.session)
      const accessor = await accessorOf(before.session)
      await before.session.close()
      const after = open(appRole(), { store })
      await after.session.start()
      expect(await accessorOf(after.session)).toBe(accessor)
      expect(after.logins()).toBe(0)
      expect(numbers(after.session)).toEqual([1])
      expect(await leaseTtl(minted)).toBeGreaterThan(0)
      expect((await mint(after.session)).generation).toBe(1)
      await after.session.close()
    })

    test('logs in where that token has ended, or is of another login, and keeps the other alive', async () => {
      const { root } = use()
      const store = memory()
      const first = open(appRole(), { store })
      await first.session.start()
      await root('POST', 'auth/token/revoke-accessor', { accessor: await accessorOf(first.session) })
      await first.session.close()
      const lost: number[] = []
      const hanging = { count: async () => 2, highest: () => 1 }
      const second = open(appRole(), { store, hanging, onLost: (generation) => lost.push(generation) })
      await second.session.start()
      expect(numbers(second.session)).toEqual([2])
      expect(lost).toEqual([1])
      const accessor = await accessorOf(second.session)
      await second.session.close()

      const third = open(await roleWith({ token_period: '1h' }), { store, hanging })
      await third.session.start()
      expect(numbers(third.session)).toEqual([2, 3])
      await expect.poll(() => third.asked.filter((path) => path === 'auth/token/renew-self').length).toBeGreaterThan(0)
      expect(await lives(accessor)).toBe(true)
      await third.session.close()
    })
  })

  test('a token that ends while grants hang on it is told of', async () => {
    const lost: number[] = []
    const hanging = { count: async () => 1, highest: () => 0 }
    const { session } = open(appRole(), { hanging, onLost: (generation) => lost.push(generation) })
    await session.start()
    await use().root('POST', 'auth/token/revoke-accessor', { accessor: await accessorOf(session) })
    expect((await mint(session)).generation).toBe(2)
    expect(lost).toEqual([1])
    await session.close()
  })

  test('a wrapped secret hangs on the token that its own token was made under', async () => {
    const { session } = open(appRole())
    await session.start()
    await session.renewLogin()
    const engine = createEngines(session, systemClock).get('database')
    const minted = await engine?.mint({ ...order(), delivery: 'wrapped' })
    expect(minted?.generation).toBe(2)
    await session.close()
  })
}
