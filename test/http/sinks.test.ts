import { InMemorySpanExporter } from '@opentelemetry/sdk-trace'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { type Code, codes } from '../../src/base/codes.ts'
import { BrokerFault } from '../../src/base/errors.ts'
import { ok, refuse } from '../../src/base/result.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Broker } from '../../src/broker.ts'
import { createApp } from '../../src/http/app.ts'
import { createLog } from '../../src/http/log.ts'
import { createMetrics } from '../../src/http/metrics.ts'
import { startTelemetry, telemetryOptions } from '../../src/http/telemetry.ts'
import { docsUrlBase, grantId, issued, noLog, readiness, send, testApp } from './harness.ts'

const canary = 'canary-5f1e9c'

describe('a canary planted wherever a caller or a minted secret can put it', () => {
  test('is in the body of the 201 and in no other answer, log line, metric or span', async () => {
    const exporter = new InMemorySpanExporter()
    const telemetry = await startTelemetry({ ...telemetryOptions({}, '1'), sink: { kind: 'exporter', exporter } })
    onTestFinished(() => telemetry.stop())
    const lines: string[] = []
    const log = createLog({ write: (line) => lines.push(line) })
    const metrics = createMetrics()
    let verb: Broker['issue'] = async () => ok(issued({ password: canary }))
    const broker = { issue: (...args: Parameters<Broker['issue']>) => verb(...args) } as Broker
    const app = createApp({
      broker,
      readiness: async () => readiness,
      metrics,
      log,
      clock: systemClock,
      draining: new AbortController().signal,
      tokenKeys: { current: async () => ({ keys: [] }) },
      publishedLog: { log: noLog, public: false },
      docsUrlBase,
    })
    const body = JSON.stringify({ purpose: 'read-orders', reason: canary, params: { public_key: canary } })
    const headers = {
      authorization: `Bearer ${canary}`,
      'content-type': 'application/json',
      'user-agent': canary,
      'x-request-id': canary,
      'x-forwarded-for': canary,
      tracestate: `a=${canary}`,
      baggage: `a=${canary}`,
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      cookie: `session=${canary}`,
    }
    const ask = async (path: string, init: RequestInit = { method: 'POST', body }): Promise<string> => {
      const response = await app.request(path, { headers, ...init })
      return JSON.stringify([...response.headers]) + (await response.text())
    }
    expect(await ask('/v1/credentials')).toContain(canary)

    const others: string[] = []
    for (const code of Object.keys(codes) as Code[]) {
      verb = async () => refuse(code, 'rule', canary)
      others.push(await ask('/v1/credentials'))
      verb = async () => {
        throw new BrokerFault(code, 'a sentence of ours', { cause: new Error(canary) })
      }
      others.push(await ask('/v1/credentials'))
    }
    for (const thrown of [canary, new Error(canary), { canary }, new AggregateError([new Error(canary)], canary)]) {
      verb = async () => {
        throw thrown
      }
      others.push(await ask('/v1/credentials'))
    }
    others.push(await ask('/v1/credentials', { method: 'POST', body: `{"purpose":"${canary}","${canary}":1}` }))
    others.push(await ask('/v1/credentials', { method: 'POST', body: canary }))
    others.push(await ask(`/v1/credentials?${canary}=${canary}`, { method: 'GET' }))
    others.push(await ask(`/v1/grants/${canary}?a=${canary}`, { method: 'GET' }))
    others.push(await ask(`/${canary}`, { method: 'GET' }))
    others.push(await ask('/healthz', { method: canary.toUpperCase() }))

    const spans = exporter.getFinishedSpans()
    expect(lines.length).toBeGreaterThan(others.length)
    expect(spans.length).toBeGreaterThan(others.length / 2)
    const described = spans.map((span) => [
      span.name,
      span.attributes,
      span.events,
      span.status,
      span.spanContext().traceState?.serialize(),
    ])
    for (const sink of [
      others.join('\n'),
      lines.join('\n'),
      (await metrics.render()).text,
      JSON.stringify(described),
    ]) {
      expect(sink.toLowerCase()).not.toContain(canary)
    }
  })
})

describe('the log', () => {
  test('is one JSON object per line with time, level, event and fields', () => {
    const lines: string[] = []
    const log = createLog({ write: (line) => lines.push(line) })
    log.info({ a: 1 }, 'one')
    log.warn({}, 'two')
    log.error({ text: 'line\nbreak' }, 'three')
    const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(parsed.map(({ time, ...rest }) => rest)).toEqual([
      { level: 'info', a: 1, event: 'one' },
      { level: 'warn', event: 'two' },
      { level: 'error', text: 'line\nbreak', event: 'three' },
    ])
    for (const { time } of parsed) expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(lines.every((line) => line.indexOf('\n') === line.length - 1)).toBe(true)
  })

  test('keeps what is below its level to itself', () => {
    const lines: string[] = []
    const log = createLog({ level: 'warn', write: (line) => lines.push(line) })
    log.info({}, 'one')
    log.warn({}, 'two')
    expect(lines).toHaveLength(1)
  })

  test('shows neither the value of a Secret nor the message of an error it is given', () => {
    const lines: string[] = []
    const log = createLog({ write: (line) => lines.push(line) })
    log.error(
      {
        secret: new Secret(canary),
        nested: { deep: new Secret(canary) },
        err: new Error(canary),
        cause: new Error(canary),
      },
      'x',
    )
    expect(lines.join('')).toContain('[secret]')
    expect(lines.join('')).not.toContain(canary)
  })

  test('has one line per request, with its route and not its path', async () => {
    const { app, log } = testApp({ grant: async () => refuse('not_found', 'grant', '') })
    const response = await send(app, 'GET', `/v1/grants/${grantId}`)
    expect(log.lines).toEqual([
      {
        event: 'request',
        request_id: response.headers.get('x-request-id'),
        method: 'GET',
        route: '/v1/grants/{id}',
        status: 404,
        code: 'not_found',
        duration_ms: expect.any(Number),
      },
    ])
  })
})

describe('metrics', () => {
  const sources = {
    liveGrants: () => 3,
    unrevokedGrants: () => 5,
    irrevocableGrants: () => 1,
    expiresOnlyGrants: () => 2,
    revocationOrders: () => ({ open: 1, holding: 4 }),
    ledgerSize: () => 42,
    policy: () => ({ digest: 'abc', refused: true, loadedAtMs: 5000 }),
    vaultTokens: async () => [
      { generation: 4, grants: 2, expires_at: '2026-11-22T12:00:00.000Z' },
      { generation: 5, grants: 0, expires_at: null },
    ],
    vaultUp: () => true,
    issuers: () => [{ name: 'cluster-eu', ready: false }],
    lostEntryLogs: () => 7,
    reconciling: () => ({
      rounds: { complete: 5, incomplete: 1 },
      orphans: 2,
      gone: 3,
      findingsOpened: 1,
      last: undefined,
      lastCompleteMs: 9000,
    }),
  }

  test('count requests by route pattern, method, status and code', async () => {
    const metrics = createMetrics({ process: false })
    const { app } = testApp({ grant: async () => refuse('not_found', 'x', '') }, { metrics })
    for (let i = 0; i < 3; i++) await send(app, 'GET', `/v1/grants/${grantId}`)
    await app.request('/nope')
    const { type, text } = await metrics.render()
    expect(type).toContain('text/plain')
    expect(text).toContain(
      'writ_http_requests_total{route="/v1/grants/{id}",method="GET",status="404",code="not_found"} 3',
    )
    expect(text).toContain('writ_http_requests_total{route="unmatched",method="GET",status="404",code="not_found"} 1')
    expect(text).toContain('writ_http_request_seconds_count{route="/v1/grants/{id}"} 3')
  })

  test('do not grow with what callers make up', async () => {
    const metrics = createMetrics({ process: false })
    const { app } = testApp({}, { metrics })
    for (let i = 0; i < 300; i++) {
      await app.request(`/made/up/${i}?q=${i}`, { method: `M${i}` })
      await send(app, 'GET', `/v1/grants/${i}`)
      metrics.issuance(`engine${i}`, 'issued')
      metrics.decision(`Odd "${i}"\n`)
      metrics.stage(`stage.${i}`, 0.001)
    }
    const { text } = await metrics.render()
    const series = (name: string): number => text.split('\n').filter((line) => line.startsWith(`${name}{`)).length
    expect(series('writ_http_requests_total')).toBe(2)
    expect(series('writ_issuances_total')).toBe(65)
    expect(series('writ_decisions_total')).toBe(1)
    expect(series('writ_stage_seconds_count')).toBe(65)
    expect(text).toContain('writ_decisions_total{code="other"} 300')
  })

  test('read what lives elsewhere when they are asked, and name the policy set in force alone', async () => {
    const metrics = createMetrics({ process: false })
    let digest = 'abc'
    const calm = { held: 12, ending: 3 }
    metrics.watch({ ...sources, policy: () => ({ ...calm, digest, refused: digest === 'abc', loadedAtMs: 5000 }) })
    metrics.issuance('database', 'issued')
    metrics.decision('allow')
    metrics.revocation('database', 'kill_switch', 'revoked', 0.02)
    metrics.revocation('ssh', 'kill_switch', 'expires_only', 0.001)
    metrics.stage('engine.mint', 0.02)
    const first = (await metrics.render()).text
    for (const line of [
      'writ_grants_live 3',
      'writ_grants_unrevoked 5',
      'writ_grants_irrevocable 1',
      'writ_grants_expires_only_unexpired 2',
      'writ_revocation_orders_open 1',
      'writ_revocation_orders_holding 4',
      'writ_revocations_total{engine="database",cause="kill_switch",outcome="revoked"} 1',
      'writ_revocations_total{engine="ssh",cause="kill_switch",outcome="expires_only"} 1',
      'writ_revocation_seconds_sum{engine="database",cause="kill_switch"} 0.02',
      'writ_ledger_entries 42',
      'writ_vault_up 1',
      'writ_vault_token_grants{generation="4"} 2',
      'writ_vault_token_grants{generation="5"} 0',
      'writ_vault_token_expires_seconds{generation="4"} 1795348800',
      'writ_ledger_logs_lost_total 7',
      'writ_policy_refused 1',
      'writ_reconcile_rounds_total{outcome="complete"} 5',
      'writ_reconcile_rounds_total{outcome="incomplete"} 1',
      'writ_reconcile_orphans_total 2',
      'writ_reconcile_gone_total 3',
      'writ_reconcile_findings_total 1',
      'writ_reconcile_leases 0',
      'writ_reconcile_failed_roles 0',
      'writ_reconcile_complete_seconds 9',
      'writ_policy_loaded_seconds 5',
      'writ_policy_held_grants 12',
      'writ_policy_ending_grants 3',
      'writ_policy_info{digest="abc"} 1',
      'writ_issuer_ready{issuer="cluster-eu"} 0',
      'writ_issuances_total{engine="database",outcome="issued"} 1',
      'writ_decisions_total{code="allow"} 1',
      'writ_stage_seconds_count{stage="engine.mint"} 1',
    ]) {
      expect(first.split('\n')).toContain(line)
    }
    digest = 'def'
    const second = (await metrics.render()).text
    expect(second).toContain('writ_policy_info{digest="def"} 1')
    expect(second).not.toContain('digest="abc"')
    expect(second).toContain('writ_policy_refused 0')
  })

  test('of two brokers in one process stay apart', async () => {
    const [one, two] = [createMetrics(), createMetrics()]
    one.decision('allow')
    expect((await one.render()).text).toContain('writ_decisions_total{code="allow"} 1')
    expect((await two.render()).text).not.toContain('writ_decisions_total{code="allow"}')
    expect((await two.render()).text).toContain('process_resident_memory_bytes')
  })
})
