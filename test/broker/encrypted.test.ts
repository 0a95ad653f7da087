import { compactDecrypt, importJWK } from 'jose'
import { expect, test } from 'vitest'
import { encrypted } from '../../src/broker/encrypted.ts'
import type { PublicJwk } from '../../src/identity/holder.ts'
import { fakeClock } from '../support/clock.ts'
import { newPair } from '../support/dpop.ts'
import { by, grantsStage } from '../support/grants.ts'
import { openTestLedger, withFolder } from '../support/ledger.ts'

const inStage = (use: (stage: ReturnType<typeof grantsStage>) => Promise<void>): Promise<void> =>
  withFolder(async (dir) => {
    const clock = fakeClock()
    const ledger = await openTestLedger(dir, { clock })
    try {
      await use(grantsStage(ledger, clock))
    } finally {
      await ledger.close()
    }
  })

test('what goes on holds the secret as a JWE and nothing of it in the open', () =>
  inStage(async (stage) => {
    const recorded = await stage.issue()
    const { jwk, jkt, privateJwk } = await newPair()
    const out = await encrypted(stage.ender, recorded, { holder: { jkt, jwk: jwk as PublicJwk }, by })
    const { jwe, ...rest } = out.minted.secret.reveal()
    expect(rest).toEqual({})
    const { plaintext } = await compactDecrypt(String(jwe), await importJWK(privateJwk, 'ECDH-ES+A256KW'))
    expect(JSON.parse(new TextDecoder().decode(plaintext))).toEqual(recorded.minted.secret.reveal())
    expect((await stage.registry.get(recorded.grant.id))?.status).toBe('active')
  }))

test.each<[string, PublicJwk | undefined]>([
  ['without a key', undefined],
  ['to a key that is none', { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }],
])('%s it cannot be encrypted, and the grant ends', (_, jwk) =>
  inStage(async (stage) => {
    const recorded = await stage.issue()
    const holder = jwk && { jkt: 'A'.repeat(43), jwk }
    await expect(encrypted(stage.ender, recorded, { ...(holder && { holder }), by })).rejects.toThrow()
    expect(await stage.registry.get(recorded.grant.id)).toMatchObject({ status: 'ended', cause: 'undelivered' })
  }),
)
