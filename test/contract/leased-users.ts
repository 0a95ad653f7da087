import { expect, test } from 'vitest'
import type { Minted, PublicId } from '../../src/engines/engine.ts'
import type { BaoEngine } from '../support/bao-engines.ts'
import { eventually } from '../support/child.ts'
import { vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'
import { field, handleOf, listedBy } from './engine-world.ts'

/** A server that Vault makes users in. */
export interface UserServer {
  /** Whether that user and password can log in and do what the role is for. Anything that is no answer is an error. */
  logIn(username: string, password: string): Promise<boolean>
}

/** What every engine that makes users must do, on a real server: the user really logs in, and is really refused once it has ended. */
export function leasedUsers(
  use: () => { readonly bao: BaoEngine; readonly server: UserServer },
  type: PublicId['type'],
) {
  const userOf = (minted: Minted): [string, string] => [field(minted, 'username'), field(minted, 'password')]
  const logsIn = (minted: Minted): Promise<boolean> => use().server.logIn(...userOf(minted))
  const refused = (username: string, password: string): Promise<true> =>
    eventually(
      async () => ((await use().server.logIn(username, password)) ? undefined : true),
      'the server refuses the user',
      30_000,
    )

  test('a minted user logs in, is named in the record, and is refused once revoked; revoking again succeeds', async () => {
    const { engine, mint } = use().bao
    const minted = await mint()
    expect(minted.publicIds).toEqual([{ type, value: field(minted, 'username') }])
    expect(await logsIn(minted)).toBe(true)
    expect(await use().server.logIn(field(minted, 'username'), 'not-its-password')).toBe(false)
    await engine.revoke(handleOf(minted))
    expect(await logsIn(minted)).toBe(false)
    await engine.revoke(handleOf(minted))
  })

  test('renewing moves the end in Vault, and the user goes on to work', async () => {
    const { engine, mint, root } = use().bao
    const minted = await mint({ ttlSeconds: 60 })
    const { expiresAtMs } = await engine.renew(handleOf(minted), 600)
    expect(expiresAtMs).toBeGreaterThan(Date.now() + 590_000)
    const handle = handleOf(minted)
    const { body } = await root('POST', 'sys/leases/lookup', { lease_id: handle.type === 'lease' ? handle.id : '' })
    expect((body as { data: { ttl: number } }).data.ttl).toBeGreaterThan(590)
    expect(await logsIn(minted)).toBe(true)
    await engine.revoke(handle)
  })

  test('live leases of the role are listed for reconciling, ended ones are not', async () => {
    const { engine, mint, order } = use().bao
    const minted = await mint()
    expect(await listedBy(engine, order().target)).toContainEqual(handleOf(minted))
    expect(await engine.lookUp(handleOf(minted))).toMatchObject({ live: true })
    await engine.revoke(handleOf(minted))
    expect(await listedBy(engine, order().target)).not.toContainEqual(handleOf(minted))
    expect(await engine.lookUp(handleOf(minted))).toMatchObject({ live: false })
  })

  test('a user that nobody revokes is ended by Vault when its grant ends, delivered plain or wrapped', async () => {
    const { mint, address } = use().bao
    const plain = await mint({ ttlSeconds: 3 })
    const wrapped = await mint({ ttlSeconds: 3, delivery: 'wrapped' })
    const { body } = await vaultApi(address, field(wrapped, 'token'))('POST', 'sys/wrapping/unwrap')
    await refused(...userOf(plain))
    await refused(text(body, 'data', 'username'), text(body, 'data', 'password'))
  })

  test('a wrapped user is seen by its caller alone, logs in, and ends when its grant is revoked', async () => {
    const { mint, engine, address } = use().bao
    const minted = await mint({ delivery: 'wrapped' })
    expect(minted.publicIds.map((id) => id.type)).toEqual(['wrapping_accessor'])
    const { body } = await vaultApi(address, field(minted, 'token'))('POST', 'sys/wrapping/unwrap')
    const user = [text(body, 'data', 'username'), text(body, 'data', 'password')] as const
    expect(await use().server.logIn(...user)).toBe(true)
    await engine.revoke(handleOf(minted))
    await refused(...user)
  })

  test.each([
    ['a role that is missing', { role: 'nonesuch' }],
    ['a mount that is missing', { mount: 'nonesuch' }],
  ])('%s is refused and leaves no lease behind', async (_, target) => {
    const { engine, order } = use().bao
    const before = (await listedBy(engine, order().target)).length
    await expect(engine.mint(order({}, target))).rejects.toMatchObject({ code: 'engine_refused', kind: 'denied' })
    expect((await listedBy(engine, order().target)).length).toBe(before)
  })
}
