import { describe, expect, test } from 'vitest'
import { type ContractWorld, field } from './engine-world.ts'

const ledgerApp = { engine: 'database', role: 'ledger-app', params: { staticRole: true } } as const
const hour = 3600

export function staticRoleContract(use: () => ContractWorld): void {
  describe('database, static role', () => {
    test('hands out the user that stands, when it was and will be rotated, and no lease', async () => {
      const { engine, mint, order, postgres } = use()
      const minted = await mint(order(ledgerApp, { ttlSeconds: 2 * hour }))
      expect(minted.secret.reveal()).toEqual({ username: 'ledger_app', password: field(minted, 'password') })
      expect(await postgres.canLogIn('ledger_app', field(minted, 'password'))).toBe(true)
      expect(minted).toMatchObject({ handle: undefined, renewable: false })
      expect(minted.publicIds).toEqual([{ type: 'database_user', value: 'ledger_app' }])
      const { rotatedAtMs = 0, rotatesAtMs = 0, everySeconds } = minted.rotation ?? {}
      expect(everySeconds).toBe(hour)
      expect(rotatedAtMs).toBeLessThanOrEqual(Date.now() + 1_000)
      // The seconds that are left are whole ones.
      expect(Math.abs(rotatesAtMs - (rotatedAtMs + hour * 1000))).toBeLessThan(1_500)
      expect(minted.expiresAtMs).toBe(rotatesAtMs)
      expect(engine('database').revocable(order(ledgerApp).target)).toBe(false)
      expect(await engine('database').leases(order(ledgerApp).target)).toBeUndefined()
    })

    test('a password that stands longer than was decided is not handed out, and the message says until when and what to set', async () => {
      const { engine, order, failure } = use()
      const error = await failure(engine('database').mint(order(ledgerApp, { ttlSeconds: 900 })))
      expect(error).toMatchObject({ code: 'engine_refused' })
      expect(String(error)).toMatch(/the password stands until \d{4}-.*Z, longer than the 900 s that were decided/)
      expect(String(error)).toContain('at least the rotation period (3600 s)')
    })

    test('once Vault has rotated it the old password is refused and the new one is handed out', async () => {
      const { mint, order, postgres, root } = use()
      const asked = order(ledgerApp, { ttlSeconds: 2 * hour })
      const before = await mint(asked)
      expect((await root('POST', 'database/rotate-role/ledger-app')).status).toBeLessThan(300)
      expect(await postgres.canLogIn('ledger_app', field(before, 'password'))).toBe(false)
      const after = await mint(asked)
      expect(await postgres.canLogIn('ledger_app', field(after, 'password'))).toBe(true)
      expect(after.rotation?.rotatedAtMs).toBeGreaterThan(before.rotation?.rotatedAtMs ?? Number.POSITIVE_INFINITY)
    })

    test('is delivered plain only, and a static role that is missing is refused', async () => {
      const { engine, order, failure } = use()
      const wrapped = await failure(engine('database').mint(order(ledgerApp, { delivery: 'wrapped' })))
      expect(String(wrapped)).toContain('cannot be delivered wrapped')
      for (const over of [{ role: 'nonesuch' }, { mount: 'nonesuch' }]) {
        const error = await failure(engine('database').mint(order({ ...ledgerApp, ...over })))
        expect(error).toMatchObject({ code: 'engine_refused' })
      }
    })
  })
}
