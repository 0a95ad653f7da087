import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPostgres } from '../support/postgres.ts'
import { databaseContract } from './engine-database.ts'
import { kvContract } from './engine-kv.ts'
import { loginContract } from './engine-login.ts'
import { pkiContract } from './engine-pki.ts'
import { sessionContract } from './engine-session.ts'
import { sshContract } from './engine-ssh.ts'
import { staticRoleContract } from './engine-static-role.ts'
import { tokenContract } from './engine-token.ts'
import { transitContract } from './engine-transit.ts'
import { type ContractServer, type ContractWorld, createWorld } from './engine-world.ts'

/**
 * What every Vault-compatible server must do for the engines. Besides the calls of `setUpVault` and of the engines
 * themselves, the suite looks with: `POST sys/leases/lookup`, `POST sys/wrapping/unwrap`, `GET pki/cert/:serial`,
 * `POST auth/token/revoke`, `POST auth/token/lookup-accessor`, `GET sys/health`.
 */
export function engineContract(name: string, start: () => Promise<ContractServer>): void {
  describe(`engines against ${name}`, () => {
    let world: ContractWorld | undefined
    const stops: (() => Promise<void>)[] = []
    const errors: string[] = []
    const canaries = new Set<string>()

    beforeAll(async () => {
      const server = await start()
      stops.push(server.stop)
      const postgres = await startPostgres()
      stops.push(postgres.stop)
      world = await createWorld(server, postgres, errors, canaries)
    })

    afterAll(async () => {
      await world?.session.close()
      await Promise.all(stops.map((stop) => stop()))
    })

    const use = (): ContractWorld => {
      if (world === undefined) throw new Error('the server did not start')
      return world
    }
    databaseContract(use)
    staticRoleContract(use)
    pkiContract(use)
    sshContract(use)
    kvContract(use)
    tokenContract(use)
    transitContract(use)
    sessionContract(use)
    loginContract(use)

    test('no error that was thrown holds a secret, a token or a lease id', () => {
      expect(errors.length).toBeGreaterThan(10)
      expect(canaries.size).toBeGreaterThan(10)
      const leaked = [...canaries].filter((secret) => errors.some((error) => error.includes(secret)))
      expect(leaked).toEqual([])
    })
  })
}
