import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Io } from '../../src/cli/command.ts'
import { policyCommand } from '../../src/cli/commands/policy.ts'
import { readEnvironment } from '../../src/config/environment.ts'
import { diffPolicies, diffText } from '../../src/policy/diff.ts'
import { explain, explainText } from '../../src/policy/explain.ts'
import { loadPolicies } from '../../src/policy/load.ts'
import { schemas } from '../../src/policy/schema.ts'
import { runTestCases } from '../../src/policy/testcases.ts'
import { fakeClock } from '../support/clock.ts'
import { startIssuer } from '../support/issuer.ts'
import { base, checkout, edit, folder, guardrail, loadSet, noonMs, request } from './organisation.ts'

const policies = fileURLToPath(new URL('../../policies', import.meta.url))
const loadExamples = async () => {
  const result = await loadPolicies(policies)
  if (!result.ok) throw new Error(JSON.stringify(result.problems, null, 1))
  return result.set
}

/** Runs `writ policy …` and gives what it printed and its exit status. */
async function run(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const out = { stdout: '', stderr: '' }
  const io: Io = {
    stdout: (text) => {
      out.stdout += text
    },
    stderr: (text) => {
      out.stderr += text
    },
    readStdin: async () => '',
    ask: async () => undefined,
    isTty: { stdin: false, stdout: false, stderr: false },
    environment: readEnvironment({}),
    clock: fakeClock(),
    onSignal: () => () => {},
  }
  const [name, ...rest] = args
  const command = policyCommand.subcommands?.find((candidate) => candidate.name === name)
  if (command === undefined) throw new Error(`no command ${name}`)
  return { status: await command.run(rest, io), ...out }
}

const jwt = (claims: object): string =>
  ['{"alg":"RS256"}', JSON.stringify(claims), 'x'].map((part) => Buffer.from(part).toString('base64url')).join('.')

describe('the worked organisation', () => {
  test('loads without a warning and holds every name of the contract', async () => {
    const set = await loadExamples()
    expect(set.warnings).toEqual([])
    expect([...set.byName.team.keys()].sort()).toEqual(['payments', 'platform', 'security', 'sre'])
    expect(set.teams.flatMap(({ members }) => members.map(({ subject }) => subject)).sort()).toEqual([
      'alice@payments',
      'bob@payments',
      'carol@platform',
      'dana@security',
      'erin@sre',
    ])
    expect(set.byName.team.get('security')?.roles).toEqual(['auditor', 'operator'])
    expect(new Set(set.workloads.map(({ policy }) => policy.type))).toEqual(
      new Set(['service', 'agent', 'pipeline', 'vendor']),
    )
    expect(new Set(set.credentials.map(({ target }) => target.engine))).toEqual(
      new Set(['database', 'pki', 'ssh', 'kv']),
    )
  })
  test('decides every case of its own tests as they expect', async () => {
    const result = await runTestCases(await loadExamples(), join(policies, 'tests'))
    if (!result.ok) throw new Error(JSON.stringify(result.problems))
    expect(result.results.length).toBeGreaterThan(30)
    expect(result.results.filter(({ differences }) => differences.length > 0)).toEqual([])
  })
  test('every file names the schema of its kind for editors', async () => {
    for (const name of await readdir(policies, { recursive: true })) {
      if (!name.endsWith('.yaml')) continue
      const text = await readFile(join(policies, name), 'utf8')
      const kind = /^kind: (\w+)/m.exec(text)?.[1]?.toLowerCase()
      expect(text.split('\n')[0], name).toBe(`# yaml-language-server: $schema=../schema/${kind}.json`)
    }
  })
  test('the JSON Schemas beside it are the ones the loader checks by', async () => {
    expect((await readdir(join(policies, 'schema'))).sort()).toEqual([...schemas().keys()].sort())
    for (const [file, schema] of schemas()) {
      const text = await readFile(join(policies, 'schema', file), 'utf8')
      expect(JSON.parse(text), `run: npx writ policy schema --write policies/schema (${file})`).toEqual(schema)
    }
  })
  test('every field of every schema says what it is for', () => {
    const silent: string[] = []
    const look = (schema: unknown, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return
      if ('properties' in schema && typeof schema.properties === 'object') {
        for (const [name, property] of Object.entries(schema.properties ?? {})) {
          const described = 'description' in property || 'const' in property
          if (!described) silent.push(`${path}.${name}`)
        }
      }
      for (const [key, value] of Object.entries(schema)) look(value, key === 'properties' ? path : `${path}.${key}`)
    }
    for (const kind of ['team', 'credential', 'workload', 'exception', 'guardrail'])
      look(schemas().get(`${kind}.json`), kind)
    expect(silent).toEqual([])
  })
})

describe('explain shows its work', () => {
  test('each claim, rule and part of a condition, passed or failed', async () => {
    const when = '    when: claims.ref == "main" && request.reason != ""'
    const set = await loadSet(edit('workload.yaml', '    renewable: true', when))
    const identity = { ...checkout, claims: { ...checkout.claims, ref: 'dev' } }
    const text = explainText(explain(set, identity, request, { active: 0, lastMinute: 0 }, noonMs))
    expect(text).toContain('pass  sub must be "system:serviceaccount:orders:checkout"')
    expect(text).toContain('FAIL  purpose.when')
    expect(text).toContain('false      claims.ref == "main"\n             claims.ref is "dev"')
    expect(text).toContain('denied: condition_failed')
  })
  test('the nearest workload when none fits', async () => {
    const identity = { ...checkout, claims: { sub: 'system:serviceaccount:orders:chekout' } }
    const found = explain(await loadExamples(), identity, request, { active: 0, lastMinute: 0 }, noonMs)
    expect(found).toMatchObject({
      nearest: true,
      workloads: [{ workload: 'checkout', claims: [{ ok: false, found: '"system:serviceaccount:orders:chekout"' }] }],
    })
  })
})

describe('diff says who gains and who loses', () => {
  test('nothing between equal sets', async () => {
    expect(diffPolicies(await loadSet(), await loadSet())).toEqual([])
  })
  test('a new and a removed way to a credential', async () => {
    const less = await loadSet(edit('workload.yaml', 'orders-ro, orders-rw', 'orders-ro'))
    const way = { workload: 'checkout', purpose: 'read', credential: 'orders-rw' }
    expect(diffPolicies(less, await loadSet())).toEqual([{ change: 'allowed', ...way }])
    expect(diffPolicies(await loadSet(), less)).toEqual([{ change: 'denied', ...way }])
  })
  test('bounds that are wider or narrower, and terms that changed', async () => {
    const after = await loadSet({ ...edit('workload.yaml', 'active: 4', 'active: 5'), 'g.yaml': guardrail })
    expect(
      diffText(diffPolicies(await loadSet(), after))
        .trim()
        .split('\n'),
    ).toEqual([
      '~ changed   checkout/read orders-ro  active at once: 4 -> 5',
      '< narrower  checkout/read orders-rw  ttl: 1h -> 30m',
      '< narrower  checkout/read orders-rw  approval: none -> owner',
      '~ changed   checkout/read orders-rw  active at once: 4 -> 5',
    ])
  })
  test('suspending a workload takes all it had', async () => {
    const after = await loadSet(edit('workload.yaml', 'status: active', 'status: suspended'))
    expect(diffPolicies(await loadSet(), after).map(({ change }) => change)).toEqual(['denied', 'denied', 'denied'])
  })
})

describe('writ policy', () => {
  test('check passes the examples and names each problem of a bad folder', async () => {
    expect(await run('check', policies)).toMatchObject({ status: 0, stderr: '' })
    const bad = await folder(edit('workload.yaml', 'owner: payments', 'owner: nobody'))
    const result = await run('check', bad)
    expect(result).toMatchObject({ status: 1, stdout: '' })
    expect(result.stderr).toContain('workload.yaml:5:8: there is no Team named `nobody`')
    const json = JSON.parse((await run('check', bad, '--json')).stdout)
    expect(json).toMatchObject({ ok: false, problems: [{ file: 'workload.yaml', line: 5, col: 8 }, {}] })
  })
  test('check --strict fails on a warning', async () => {
    const dir = await folder(base)
    expect((await run('check', dir)).status).toBe(0)
    expect((await run('check', dir, '--strict')).status).toBe(1)
  })
  test('test fails when a case does, and says in what', async () => {
    const cases = (effect: string) =>
      `kind: Test\nnow: 2026-11-22\ncases:\n  - name: reads\n    issuer: cluster-eu\n    claims: { sub: "system:serviceaccount:orders:checkout" }\n    request: { purpose: read, credential: orders-ro }\n    expect: { effect: ${effect} }\n`
    expect((await run('test', await folder({ ...base, 'tests/a.yaml': cases('allow') }))).status).toBe(0)
    const failed = await run('test', await folder({ ...base, 'tests/a.yaml': cases('deny') }))
    expect(failed).toMatchObject({ status: 1, stdout: '0 passed, 1 failed\n' })
    expect(failed.stderr).toContain('effect is "allow", expected "deny"')
    const broken = await run('test', await folder({ ...base, 'tests/a.yaml': cases('alow') }))
    expect(broken.stderr).toContain('a.yaml:8:23: `cases.0.expect.effect` cannot be `alow`, did you mean `allow`?')
    expect(broken.status).toBe(1)
  })
  test('explain decides about a token, and says that nobody checked it', async () => {
    const token = jwt({ iss: 'https://kubernetes.default.svc', sub: 'system:serviceaccount:orders:checkout' })
    const args = ['--purpose', 'read-orders', '--ttl', '2h', '--policies', policies, '--unverified']
    const allowed = await run('explain', '--token', token, ...args)
    expect(allowed.status).toBe(0)
    expect(allowed.stdout).toContain('NOT checked')
    expect(allowed.stdout).toContain('allowed: orders-ro in prod for 3600 seconds, capped by purpose')
    expect(allowed.stdout).not.toContain(token)
    const denied = await run(
      'explain',
      '--token',
      jwt({ iss: 'https://kubernetes.default.svc', sub: 'x' }),
      ...args,
      '--json',
    )
    expect(denied.status).toBe(3)
    expect(JSON.parse(denied.stdout)).toMatchObject({
      decision: { refusal: { code: 'workload_unknown' } },
      nearest: true,
    })
    expect((await run('explain', '--token', jwt({ iss: 'https://evil.example' }), ...args)).status).toBe(4)
    expect((await run('explain', '--token', 'junk', ...args)).status).toBe(4)
  })
  test('explain verifies a signed token with the keys of its issuer, and shows every check', async () => {
    const issuer = await startIssuer()
    onTestFinished(() => issuer.close())
    const { url } = issuer
    const keys = `{ jwks: ${JSON.stringify(issuer.jwks())} }`
    const own = edit(
      'issuer.yaml',
      'https://kubernetes.default.svc',
      url,
      edit('issuer.yaml', '{ discovery: true }', keys),
    )
    const dir = await folder(edit('issuer.yaml', 'flavour: kubernetes', 'flavour: generic', own))
    const nowSeconds = fakeClock().now() / 1000
    const token = await issuer.sign({ sub: 'system:serviceaccount:orders:checkout' }, { now: nowSeconds })
    const asked = ['--purpose', 'read', '--credential', 'orders-ro', '--policies', dir]
    const good = await run('explain', '--token', token, ...asked)
    expect(good.stdout).toContain('allowed: orders-ro in prod for 900 seconds')
    expect(good.stdout).toContain('pass  signature')
    expect(good.status).toBe(0)
    const forged = await run('explain', '--token', `${token.slice(0, -8)}AAAAAAAA`, ...asked)
    expect(forged.status).toBe(4)
    expect(forged.stdout).toContain('denied: token_invalid')
  })
  test('explain refuses a token that no issuer signed', async () => {
    const result = await run(
      'explain',
      '--token',
      jwt({ iss: 'https://evil.example' }),
      '--purpose',
      'x',
      '--policies',
      policies,
    )
    expect(result.status).toBe(4)
    expect(result.stdout).toContain('denied: issuer_unknown')
  })
  test('diff of the examples with themselves finds nothing', async () => {
    expect(await run('diff', policies, policies)).toMatchObject({ status: 0, stdout: 'no difference\n' })
  })
})
