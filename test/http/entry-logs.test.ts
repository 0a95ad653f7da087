import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ExportResultCode } from '@opentelemetry/core'
import type { LogRecordExporter, ReadableLogRecord } from '@opentelemetry/sdk-logs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { stringify } from 'yaml'
import { type EntryLogs, startEntryLogs, startEntryLogsIfAsked } from '../../src/http/entry-logs.ts'
import { type Entry, entrySchema } from '../../src/ledger/entry.ts'
import { eventually } from '../support/child.ts'
import { intentEntry, issuedEntry } from '../support/entries.ts'
import { fullEntries } from '../support/entry-samples.ts'
import { spawnWrit } from '../support/serve.ts'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const whole = (body: object): Entry => entrySchema.parse({ ...body, v: 1, time: '2026-11-22T12:00:00.123Z' })
const stored = (entry: Entry, index = 0) => ({ index, leafHash: 'ab'.repeat(32), entry })
const about = { version: '1.0.0', origin: 'writ.test/ledger' }

/** A collector that answers each batch as told. */
function collecting(
  answer: (done: (code: ExportResultCode) => void) => void = (done) => done(ExportResultCode.SUCCESS),
) {
  const records: ReadableLogRecord[] = []
  const exporter: LogRecordExporter = {
    export(batch, done) {
      records.push(...batch)
      answer((code) => done({ code }))
    },
    forceFlush: async () => {},
    shutdown: async () => {},
  }
  return { records, exporter }
}

async function emitted(...entries: readonly Entry[]): Promise<readonly ReadableLogRecord[]> {
  const { records, exporter } = collecting()
  const logs = await startEntryLogs({ ...about, exporter })
  entries.forEach((entry, index) => void logs.emit(stored(entry, index)))
  await logs.stop()
  expect(logs.lost()).toBe(0)
  return records
}

describe('a ledger entry as a log record', () => {
  test('is an event with the time of the entry, a severity, where it stands, its ids and codes, and no body', async () => {
    const [record] = await emitted(whole({ ...intentEntry(1), trace: traceId }))
    expect(record).toMatchObject({
      eventName: 'writ.grant.intent',
      severityNumber: 9,
      severityText: 'INFO',
      hrTime: [Date.UTC(2026, 10, 22, 12) / 1000, 123_000_000],
      spanContext: { traceId },
    })
    expect(record?.body).toBeUndefined()
    expect(record?.resource.attributes).toMatchObject({ 'service.name': 'writ', 'service.version': '1.0.0' })
    expect(record?.attributes).toEqual({
      'writ.ledger.origin': 'writ.test/ledger',
      'writ.ledger.index': 0,
      'writ.ledger.leaf_hash': 'ab'.repeat(32),
      'writ.actor.type': 'workload',
      'writ.workload': 'checkout',
      'writ.owner': 'payments',
      'writ.purpose': 'read-orders',
      'writ.environment': 'prod',
      'writ.credential': 'orders-ro',
      'writ.grant': 'gr_00000000000000000000000001',
      'writ.policy': 'a'.repeat(64),
      'writ.request': 'rq_00000000000000000000000001',
      'writ.token': 'b'.repeat(64),
      'writ.engine': 'database',
      'writ.delivery': 'plain',
      'writ.ttl': 900,
      'writ.sensitivity': 'medium',
    })
  })

  test('stands in no trace when its entry names none', async () => {
    const [record] = await emitted(whole(issuedEntry(1)))
    expect(record?.spanContext).toBeUndefined()
  })

  test('of every kind holds no text that somebody wrote, and nothing sealed', async () => {
    const entries = fullEntries()
    const records = await emitted(...entries)
    expect(records.map(({ eventName }) => eventName)).toEqual(entries.map(({ kind }) => `writ.${kind}`))
    const texts = [
      'reason',
      'detail',
      'intent',
      'mount',
      'role',
      'source',
      'signal',
      'setting',
      'version',
      'engine_server',
    ]
    for (const [i, { attributes }] of records.entries()) {
      const shown = new Set(Object.values(attributes))
      const entry = { ...entries[i] } as Record<string, unknown>
      for (const name of texts) if (typeof entry[name] === 'string') expect(shown.has(entry[name])).toBe(false)
      expect(Object.values(attributes).every((value) => typeof value !== 'object')).toBe(true)
    }
    const by = (kind: string) => records[entries.findIndex((entry) => entry.kind === kind)]?.attributes ?? {}
    expect(by('task.ended')).not.toHaveProperty('writ.outcome')
    expect(by('broker.stopped')).not.toHaveProperty('writ.cause')
    expect(by('grant.ended')).toMatchObject({ 'writ.cause': 'handed_back', 'writ.outcome': 'revoked' })
  })
})

describe('a collector that does not keep up', () => {
  test('costs entries, which are counted, and holds up nobody', async () => {
    const waiting: (() => void)[] = []
    const { records, exporter } = collecting((done) => void waiting.push(() => done(ExportResultCode.SUCCESS)))
    const logs = await startEntryLogs({ ...about, exporter })
    const entry = whole(issuedEntry(1))
    for (let index = 0; index < 5000; index++) logs.emit(stored(entry, index))
    expect(logs.lost()).toBe(5000 - 2048)
    await eventually(async () => waiting.length > 0 || undefined, 'the first batch')
    logs.emit(stored(entry))
    expect(logs.lost()).toBe(5001 - 2048)
    // One batch is taken: as many may wait again.
    waiting.shift()?.()
    for (let index = 0; index < 512; index++) logs.emit(stored(entry, index))
    expect(logs.lost()).toBe(5001 - 2048)
    logs.emit(stored(entry))
    expect(logs.lost()).toBe(5002 - 2048)
    expect(records.length).toBeGreaterThanOrEqual(512)
    await logs.stop()
  })

  test('or refuses them, loses them, and they are counted', async () => {
    const { exporter } = collecting((done) => done(ExportResultCode.FAILED))
    const logs = await startEntryLogs({ ...about, exporter })
    for (let index = 0; index < 7; index++) logs.emit(stored(whole(issuedEntry(1)), index))
    await logs.stop()
    expect(logs.lost()).toBe(7)
  })
})

describe('what the environment asks for', () => {
  const endpoint = 'http://127.0.0.1:9'
  test.each([
    [{}, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, true],
    [{ OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: endpoint }, true],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint }, false],
    [{ OTEL_LOGS_EXPORTER: 'otlp' }, true],
    [{ OTEL_LOGS_EXPORTER: 'console' }, false],
    [{ OTEL_LOGS_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, false],
    [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, true],
    [{ OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, false],
  ] as [Record<string, string>, boolean][])('%j exports logs: %s', async (env, wanted) => {
    const logs: EntryLogs | undefined = await startEntryLogsIfAsked(env, about)
    expect(logs !== undefined).toBe(wanted)
    await logs?.stop()
  })
})

describe('writ serve with a collector', () => {
  interface Sent {
    readonly eventName: string
    readonly attributes: readonly { readonly key: string; readonly value: object }[]
  }

  test('sends every entry of the ledger over OTLP, the last one too, and counts what is lost', async () => {
    const sent: Sent[] = []
    const collector = createServer(async (request, response) => {
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString())
      if (request.url === '/v1/logs') {
        for (const { scopeLogs } of body.resourceLogs) for (const { logRecords } of scopeLogs) sent.push(...logRecords)
      }
      response.end('{}')
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => collector.once('listening', resolve))
    const dir = await mkdtemp(join(tmpdir(), 'writ-logs-'))
    onTestFinished(async () => {
      collector.close()
      collector.closeAllConnections()
      await rm(dir, { recursive: true, force: true })
    })
    const config = {
      url: 'https://writ.example.com',
      listen: { port: 0 },
      policies: fileURLToPath(new URL('../../policies', import.meta.url)),
      // Nobody is there: the broker starts all the same, and records it.
      vault: { address: 'http://127.0.0.1:9', auth: { method: 'token' } },
      ledger: { dir: join(dir, 'ledger'), keyFile: join(dir, 'ledger.key') },
    }
    await writeFile(join(dir, 'writ.yaml'), stringify(config))
    const { port } = collector.address() as AddressInfo
    const serving = spawnWrit(['serve', '--config', join(dir, 'writ.yaml')], {
      env: { VAULT_TOKEN: 'x', OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: `http://127.0.0.1:${port}/v1/logs` },
    })
    const started = await eventually(async () => serving.stdout().split('\n').find(Boolean), 'the broker to listen')
    const metrics = await (await fetch(`${JSON.parse(started).url}/metrics`)).text()
    expect(metrics).toContain('\nwrit_ledger_logs_lost_total 0\n')
    serving.signal('SIGTERM')
    expect((await serving.exited).code).toBe(0)

    const names = sent.map(({ eventName }) => eventName)
    expect(names).toEqual(['writ.policy.loaded', 'writ.broker.started', 'writ.broker.stopped'])
    const indexes = sent.map(({ attributes }) => attributes.find(({ key }) => key === 'writ.ledger.index')?.value)
    expect(indexes).toEqual([{ intValue: 0 }, { intValue: 1 }, { intValue: 2 }])
    expect(await readFile(join(dir, 'ledger/checkpoint'), 'utf8')).toContain('\n3\n')
  })
})
