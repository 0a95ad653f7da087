import { spawnSync } from 'node:child_process'
import pg from 'pg'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { startDevVault } from '../../src/dev/vault/server.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { startPostgres } from '../support/postgres.ts'
import { strictly, vaultApi } from '../support/vault-api.ts'
import { setUpVault, text } from '../support/vault-setup.ts'
import { audience, type BenchIssuer, issuerUrl, workloads } from './world.ts'

/** A server to mint from. */
export interface BenchVault {
  /** What it is, for the report. */
  readonly name: string
  /** Whether it is the real thing: only then are figures of minting worth anything. */
  readonly real: boolean
  readonly address: string
  readonly brokerToken: string
  /** May do anything, for what only an operator may. */
  readonly rootToken: string
  /** May mint what the workloads may, for the bare path. */
  readonly bareToken: string
  stop(): Promise<void>
}

/** OpenBao or Vault on raft storage with a file audit device, and its PostgreSQL; the development server where there is neither. */
export async function startVault(issuer: BenchIssuer): Promise<BenchVault> {
  if (!baoAvailable()) {
    const server = await startDevVault({ clock: systemClock, log: silentLog })
    return {
      name: 'none',
      real: false,
      address: server.address,
      brokerToken: server.rootToken,
      rootToken: server.rootToken,
      bareToken: '',
      stop: server.stop,
    }
  }
  const postgres = await startPostgres()
  const server = await startBao({ mode: 'raft' }).catch(async (error: unknown) => {
    await postgres.stop()
    throw error
  })
  const stop = async (): Promise<void> => {
    await server.stop()
    await postgres.stop()
  }
  try {
    const root = vaultApi(server.address, server.rootToken)
    const { brokerToken } = await setUpVault(root, postgres)
    const api = strictly(root)
    await makeReaders(postgres.adminUrl)
    // Nothing ends while it is measured: ending costs the server, and would fall on whichever variant runs then.
    for (const role of ['orders-ro', 'orders-others']) await api('POST', `database/roles/${role}`, databaseRole)
    const bareToken = await setUpLogins(api, issuer)
    return {
      name: versionOf(),
      real: true,
      address: server.address,
      brokerToken,
      rootToken: server.rootToken,
      bareToken,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

const databaseRole = {
  db_name: 'orders',
  creation_statements: [
    `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE order_readers`,
  ],
  revocation_statements: ['DROP ROLE IF EXISTS "{{name}}"'],
  default_ttl: '1h',
  max_ttl: '2h',
}

/** Users take their rights from a group: thousands of grants of their own would not fit into the row of the table. */
async function makeReaders(adminUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl })
  await client.connect()
  await client.query('CREATE ROLE order_readers; GRANT SELECT ON orders TO order_readers')
  await client.end()
}

const versionOf = (): string => {
  const [name = ''] = ['bao', 'vault'].filter((each) => spawnSync(each, ['version'], { stdio: 'ignore' }).status === 0)
  return spawnSync(name, ['version'], { encoding: 'utf8' }).stdout.split(/[,\n]/)[0]?.trim() ?? ''
}

/**
 * What a user does without a broker: one JWT role and one policy for each workload, so that each can mint its own and no more.
 * Returns a token with all of those policies.
 */
async function setUpLogins(api: ReturnType<typeof strictly>, issuer: BenchIssuer): Promise<string> {
  await api('POST', 'sys/auth/jwt', { type: 'jwt' })
  await api('POST', 'auth/jwt/config', { jwt_validation_pubkeys: [issuer.pem], bound_issuer: issuerUrl })
  for (const { engine, subject, mint } of workloads) {
    const capability = mint.method === 'GET' ? 'read' : 'update'
    await api('POST', `sys/policies/acl/bench-${engine}`, {
      policy: `path "${mint.path}" { capabilities = ["${capability}"] }`,
    })
    await api('POST', `auth/jwt/role/${engine}`, {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: [audience],
      bound_subject: subject,
      token_policies: [`bench-${engine}`],
      token_ttl: '1h',
    })
  }
  const token = { policies: workloads.map(({ engine }) => `bench-${engine}`), period: '1h', no_default_policy: true }
  return text((await api('POST', 'auth/token/create', token)).body, 'auth', 'client_token')
}
