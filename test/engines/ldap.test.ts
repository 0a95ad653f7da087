import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine, LeaseHandle, Minted } from '../../src/engines/engine.ts'
import { baoAvailable, startBao, type TestBao } from '../support/bao.ts'
import { eventually } from '../support/child.ts'
import { orderFor } from '../support/credential-order.ts'
import { engineUnderNeeds, field, handleOf } from '../support/leased-engine.ts'
import { slapdAvailable, startSlapd, type TestSlapd } from '../support/slapd.ts'
import { strictly, type VaultApi, vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'

const staff = { engine: 'ldap', mount: 'ldap', role: 'staff' } as const

describe.skipIf(!baoAvailable() || !slapdAvailable())('needs bao and slapd: users of a real OpenLDAP', () => {
  let slapd: TestSlapd
  let bao: TestBao
  let api: VaultApi
  let close: (() => Promise<void>) | undefined
  let ldap: Engine

  beforeAll(async () => {
    ;[slapd, bao] = await Promise.all([startSlapd(), startBao({ mode: 'dev' })])
    api = strictly(vaultApi(bao.address, bao.rootToken))
    await api('POST', 'sys/mounts/ldap', { type: 'ldap' })
    const { url, adminDn, adminPassword, suffix } = slapd
    await api('POST', 'ldap/config', { url, binddn: adminDn, bindpass: adminPassword, schema: 'openldap' })
    const dn = `cn={{.Username}},ou=users,${suffix}`
    const role = {
      creation_ldif: `dn: ${dn}\nobjectClass: person\nobjectClass: top\ncn: {{.Username}}\nsn: {{.Username}}\nuserPassword: {{.Password}}\n`,
      deletion_ldif: `dn: ${dn}\nchangetype: delete\n`,
      default_ttl: '2m',
      max_ttl: '1h',
    }
    await api('POST', 'ldap/role/staff', role)
    await api('POST', 'ldap/role/brief', { ...role, default_ttl: '2s' })
    const stuck = `dn: cn=nobody,ou=users,${suffix}\nchangetype: delete\n`
    await api('POST', 'ldap/role/stuck', { ...role, deletion_ldif: stuck })
    const documents = ['staff', 'brief', 'stuck', 'nonesuch'].map((name) => ({ ...staff, role: name }))
    const made = await engineUnderNeeds(bao, api, documents)
    ldap = made.engine
    close = made.close
  })
  afterAll(async () => {
    await close?.()
    await Promise.all([bao?.stop(), slapd?.stop()])
  })

  const dnOf = (username: string): string => `cn=${username},ou=users,${slapd.suffix}`
  const binds = (minted: Minted): Promise<boolean> =>
    slapd.canBind(dnOf(field(minted, 'username')), field(minted, 'password'))
  const refused = (user: readonly [string, string]) => async () =>
    (await slapd.canBind(dnOf(user[0]), user[1])) ? undefined : true
  const leaseTtl = async (handle: LeaseHandle): Promise<number> => {
    const { body } = await api('POST', 'sys/leases/lookup', { lease_id: 'id' in handle ? handle.id : '' })
    return (body as { data: { ttl: number } }).data.ttl
  }

  test('a minted user binds, and is refused once revoked; revoking again succeeds', async () => {
    const minted = await ldap.mint(orderFor(staff))
    expect(Object.keys(minted.secret.reveal())).toEqual(['username', 'password', 'distinguished_names'])
    expect(minted.secret.reveal().distinguished_names).toEqual([dnOf(field(minted, 'username'))])
    expect(minted.publicIds).toEqual([{ type: 'ldap_user', value: field(minted, 'username') }])
    expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 120_000)
    expect(await binds(minted)).toBe(true)
    expect(await ldap.lookUp(handleOf(minted))).toMatchObject({ live: true })
    await ldap.revoke(handleOf(minted))
    expect(await binds(minted)).toBe(false)
    expect(await ldap.lookUp(handleOf(minted))).toMatchObject({ live: false })
    await ldap.revoke(handleOf(minted))
  })

  test('a user that nobody revokes is ended by Vault', async () => {
    const plain = await ldap.mint(orderFor({ ...staff, role: 'brief' }, { ttlSeconds: 2 }))
    const user = [field(plain, 'username'), field(plain, 'password')] as const
    expect(await eventually(refused(user), 'OpenLDAP refuses the user')).toBe(true)
  })

  test('Vault itself ends the user when the grant ends, even where the role would let it live longer', async () => {
    const minted = await ldap.mint(orderFor(staff, { ttlSeconds: 60 }))
    expect(await leaseTtl(handleOf(minted))).toBeLessThanOrEqual(60)
    expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 60_000)
    await ldap.revoke(handleOf(minted))
  })

  test('live users are listed by role, and renewed', async () => {
    const minted = await ldap.mint(orderFor(staff, { ttlSeconds: 120 }))
    const listed = [...((await ldap.leases(orderFor(staff).target)) ?? [])].map((handle) => handle.reveal())
    expect(listed).toEqual([handleOf(minted)])
    expect((await ldap.renew(handleOf(minted), 120)).expiresAtMs).toBeGreaterThan(Date.now() + 100_000)
    expect(await leaseTtl(handleOf(minted))).toBeGreaterThan(100)
    await ldap.revoke(handleOf(minted))
  })

  test('wrapped, the caller unwraps the user and the broker ends it', async () => {
    const minted = await ldap.mint(orderFor(staff, { delivery: 'wrapped' }))
    const { body } = await vaultApi(bao.address, field(minted, 'token'))('POST', 'sys/wrapping/unwrap')
    const user = [text(body, 'data', 'username'), text(body, 'data', 'password')] as const
    expect(await slapd.canBind(dnOf(user[0]), user[1])).toBe(true)
    await ldap.revoke(handleOf(minted))
    expect(await eventually(refused(user), 'OpenLDAP refuses the user')).toBe(true)
  })

  test('a deletion that the directory refuses is a fault, and the lease stays listed', async () => {
    const minted = await ldap.mint(orderFor({ ...staff, role: 'stuck' }))
    const error = await ldap.revoke(handleOf(minted)).catch((thrown: unknown) => thrown)
    expect(inspect(error, { depth: 12, showHidden: true })).not.toContain(field(minted, 'password'))
    expect(error).toBeInstanceOf(Error)
    expect(await leaseTtl(handleOf(minted))).toBeGreaterThan(0)
    await api('POST', 'sys/leases/revoke-force/ldap/creds/stuck')
  })

  test('a role that is not there, and a directory that is away, are refusals that leave nothing behind', async () => {
    const missing = await ldap.mint(orderFor({ ...staff, role: 'nonesuch' })).catch((thrown: unknown) => thrown)
    expect(missing).toMatchObject({ code: 'engine_refused' })
    await slapd.stop()
    const away = await ldap.mint(orderFor(staff)).catch((thrown: unknown) => thrown)
    expect(away).toBeInstanceOf(Error)
    expect(away).not.toHaveProperty('ambiguous')
    expect([...((await ldap.leases(orderFor(staff).target)) ?? [])]).toEqual([])
  })
})
