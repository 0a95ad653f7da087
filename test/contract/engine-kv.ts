import { describe, expect, test } from 'vitest'
import { type ContractWorld, unwrap } from './engine-world.ts'

const vendor = { engine: 'kv', mount: 'static', role: 'vendor/api' } as const

export function kvContract(use: () => ContractWorld): void {
  describe('kv version 2', () => {
    test('the latest version is handed out whole, says its version, and never expires or ends', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(vendor))
      expect(minted.secret.reveal()).toEqual({ user: 'vendor', api_key: 'canary-second' })
      expect(minted.publicIds).toEqual([{ type: 'kv_version', value: 'static/vendor/api@2' }])
      expect(minted).toMatchObject({ handle: undefined, expiresAtMs: undefined, renewable: false })
      const made = minted.rotation?.rotatedAtMs ?? 0
      expect(made).toBeGreaterThan(Date.now() - 600_000)
      expect(made).toBeLessThanOrEqual(Date.now() + 1_000)
      expect(minted.rotation).toEqual({ rotatedAtMs: made })
      expect(engine('kv').revocable(order(vendor).target)).toBe(false)
      expect(await engine('kv').leases(order(vendor).target)).toBeUndefined()
    })

    test('a pinned version stays that version, and only the named fields leave', async () => {
      const { mint, order } = use()
      const minted = await mint(order({ ...vendor, params: { version: 1, keys: ['api_key'] } }))
      expect(minted.secret.reveal()).toEqual({ api_key: 'canary-first' })
      expect(minted.publicIds).toEqual([{ type: 'kv_version', value: 'static/vendor/api@1' }])
    })

    test('a named field that is missing, a version that is missing and a parameter that is unknown are refused', async () => {
      const { engine, order, failure } = use()
      for (const params of [{ keys: ['api_key', 'absent'] }, { version: 9 }, { path: 'x' }]) {
        const error = await failure(engine('kv').mint(order({ ...vendor, params })))
        expect(error).toMatchObject({ code: 'engine_refused' })
      }
    })

    test('wrapped, the secret is unwrapped by the caller once; with `keys` it is refused, because Vault wraps it whole', async () => {
      const { engine, mint, order, failure } = use()
      const minted = await mint(order(vendor, { delivery: 'wrapped' }))
      const opened = await unwrap(use(), minted)
      expect(opened.body).toMatchObject({ data: { data: { api_key: 'canary-second' } } })
      expect((await unwrap(use(), minted)).status).toBe(400)
      expect(minted).toMatchObject({ handle: undefined, expiresAtMs: undefined })
      const narrowed = order({ ...vendor, params: { keys: ['user'] } }, { delivery: 'wrapped' })
      expect(await failure(engine('kv').mint(narrowed))).toMatchObject({ code: 'engine_refused' })
    })
  })
}
