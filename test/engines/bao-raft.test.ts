import { readFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { engineContract } from '../contract/engine.contract.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { vaultApi } from '../support/vault-api.ts'

describe.skipIf(!baoAvailable())('needs bao or vault on PATH', () => {
  engineContract('a real server on raft storage with a file audit device', () => startBao({ mode: 'raft' }))

  test('a sealed server is its own fault, safe to try again, and known from its health', async () => {
    const bao = await startBao({ mode: 'raft' })
    try {
      const session = createVaultSession({
        address: bao.address,
        auth: { method: 'token', token: new Secret(bao.rootToken) },
        clock: systemClock,
        log: silentLog,
      })
      await session.start()
      await session.read('sys/mounts')
      expect(await readFile(bao.auditLog ?? '', 'utf8')).toContain('sys/mounts')
      await vaultApi(bao.address, bao.rootToken)('PUT', 'sys/seal', {})
      const error = await session.read('database/creds/orders-ro', { mints: true }).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'sealed', retryAfterSeconds: 15 })
      expect(error).not.toHaveProperty('ambiguous')
      expect(inspect(error, { depth: 12, showHidden: true })).not.toContain(bao.rootToken)
      expect(await session.health()).toMatchObject({ reachable: true, sealed: true })
      await vaultApi(bao.address, '')('PUT', 'sys/unseal', { key: bao.unsealKey })
      await expect.poll(async () => (await session.health()).standby, { timeout: 20_000 }).toBe(false)
      await session.close()
    } finally {
      await bao.stop()
    }
  })
})
