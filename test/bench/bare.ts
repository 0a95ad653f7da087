/**
 * The least that could stand between a workload and Vault, from the libraries the broker uses: verify the token, record the
 * intent, mint, record the issuance, answer. No policy, no state, no spans, no metrics, no log. Run by the benchmark as a
 * process of its own; takes the path of its orders as argument.
 */
import { readFileSync } from 'node:fs'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { importJWK, type JWK, jwtVerify } from 'jose'
import nodeVault from 'node-vault'
import { systemClock } from '../../src/base/clock.ts'
import { newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { createTransport } from '../../src/engines/transport.ts'
import { generateLedgerKey } from '../../src/ledger/keys.ts'
import { parseSkey } from '../../src/ledger/log/note.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { intentEntry, issuedEntry } from '../support/entries.ts'
import { audience, type BenchWorkload, issuerUrl } from './world.ts'

/** What the benchmark hands over, as JSON in a file. */
export interface BareOrders {
  readonly vaultAddress: string
  readonly vaultToken: string
  readonly jwk: JWK
  readonly ledgerDir: string
  readonly workloads: readonly BenchWorkload[]
}

async function main(orders: BareOrders): Promise<void> {
  const key = await importJWK(orders.jwk, 'RS256')
  const bySubject = new Map(orders.workloads.map((workload) => [workload.subject, workload]))
  const origin = 'bench.example/bare'
  const ledger = await openFileLedger({
    dir: orders.ledgerDir,
    origin,
    key: parseSkey(generateLedgerKey(origin).skeyText),
    clock: systemClock,
    log: silentLog,
  })
  const transport = createTransport({ address: orders.vaultAddress, clock: systemClock, deadlineMs: 10_000 })
  const vault = nodeVault({
    endpoint: orders.vaultAddress,
    token: orders.vaultToken,
    debug: () => {},
    tv4: Object.assign(() => true, { validate: () => true }),
    commands: {},
    'request-promise': { defaults: () => transport.send },
  })
  const app = new Hono()
  app.onError((error, c) => c.json({ error: error.message }, 500))
  let count = 0
  app.post('/v1/credentials', async (c) => {
    await c.req.json()
    const token = (c.req.header('authorization') ?? '').slice('Bearer '.length)
    const { payload } = await jwtVerify(token, key, { issuer: issuerUrl, audience, algorithms: ['RS256'] })
    const workload = bySubject.get(payload.sub ?? '')
    if (workload === undefined) return c.json({ code: 'workload_unknown' }, 403)
    const n = count++
    await ledger.append(intentEntry(n))
    const { method, path, body = {} } = workload.mint
    const { data } = await (method === 'GET' ? vault.read(path) : vault.write(path, body))
    const { index } = await ledger.append(issuedEntry(n))
    return c.json({ grant: newId('gr', Date.now()), secret: data, ledger: { index } }, 201)
  })
  serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`)
  })
  process.once('SIGTERM', () => process.exit())
}

if (import.meta.main) await main(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as BareOrders)
