import pg from 'pg'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { groups } from '../../src/dev/sample-data.ts'
import { setUpVault } from '../../src/dev/setup.ts'
import { startDevVault } from '../../src/dev/vault/server.ts'
import type { MintOrder } from '../../src/engines/engine.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { edit, loadSet } from '../policy/organisation.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { startPostgres } from '../support/postgres.ts'

const id = 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3' as MintOrder['grant']
const names = { workload: 'w', grant: id, purpose: 'p', environment: 'prod', owner: 'o', task: '' }

const files = edit('credentials.yaml', 'role: orders-rw\n', 'role: orders-rw\nstatic: true\n')

const servers = [
  ['the development server', () => startDevVault(), true],
  ['OpenBao', () => startBao({ mode: 'dev' }), baoAvailable()],
] as const

for (const [server, start, available] of servers) {
  test.skipIf(!available)(
    `${server} gets the static role that a policy names, also when it is set up again`,
    async () => {
      const [vault, postgres, policies] = await Promise.all([start(), startPostgres(), loadSet(files)])
      const { address, rootToken: token } = vault
      const admin = new pg.Client({ connectionString: postgres.adminUrl })
      await admin.connect()
      await admin.query(
        `CREATE ROLE ${groups.read}; CREATE ROLE ${groups.write}; GRANT SELECT ON orders TO ${groups.write}`,
      )
      await admin.end()
      const options = { address, token, policies, databaseUrl: postgres.adminUrl, clock: systemClock, log: silentLog }
      await setUpVault(options)
      const { brokerToken } = await setUpVault(options)
      const session = createVaultSession({
        address,
        auth: { method: 'token', token: brokerToken },
        clock: systemClock,
        log: silentLog,
      })
      try {
        await session.start()
        const target = policies.byName.credential.get('orders-rw')?.target
        if (target === undefined) throw new Error('no such Credential')
        const order = { grant: id, target, names, callerParams: {}, ttlSeconds: 7200, delivery: 'plain' } as const
        const minted = await createEngines(session, systemClock).get('database')?.mint(order)
        const { username, password } = minted?.secret.reveal() ?? {}
        expect(username).toBe('orders-rw')
        expect(minted?.rotation).toMatchObject({ everySeconds: 7200 })
        expect(await postgres.canLogIn(String(username), String(password))).toBe(true)
        expect(await postgres.canLogIn(String(username), 'another')).toBe(false)
      } finally {
        await session.close()
        await vault.stop()
        await postgres.stop()
      }
    },
    120_000,
  )
}
