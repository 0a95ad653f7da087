import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { runWrit } from '../cli/run-writ.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

let world: World
beforeAll(async () => {
  // Whatever a change would end waits for an operator.
  world = await startWorld({
    config: (config) => ({ ...config, policyChange: { brake: { percent: 0, least: 1 } } }),
  })
})
afterAll(() => world?.stop())

const writ = async (as: string, ...args: string[]) =>
  runWrit(args, { env: { WRIT_URL: world.url, WRIT_TOKEN: await world.token(as) } })

/** A copy of the policies in force with one file changed, as on a branch. */
async function branch(edits: Readonly<Record<string, (text: string) => string>>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-branch-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await cp(world.policies.dir, dir, { recursive: true })
  for (const [file, change] of Object.entries(edits)) {
    const path = join(dir, file)
    const text = await readFile(path, 'utf8')
    expect(change(text)).not.toBe(text)
    await writeFile(path, change(text))
  }
  return dir
}

const invoices = `purposes:
  - id: read-invoices
    because: Show customers what they paid
    environment: prod
    credentials: [orders-ro]
    ttl: { max: 15m }
    when: request.reason != "" || workload.type == "service"
`

test('a change is shown with what it ends and newly allows, and then does just that', async () => {
  const lost = (await world.issue('nightly-report', { purpose: 'read-orders' })).body
  const kept = (await world.issue('checkout', { purpose: 'read-orders', reason: 'a customer called' })).body
  const long = (await world.issue('checkout', { purpose: 'read-orders', ttl: '1h', reason: 'hunter2 is no reason' }))
    .body
  for (let i = 0; i < 3; i++) {
    expect((await world.issue('checkout', { purpose: 'read-invoices' })).body).toMatchObject({
      code: 'purpose_unknown',
    })
  }
  const dir = await branch({
    'workloads/nightly-report.yaml': (text) => text.replace('id: read-orders', 'id: read-orders-2'),
    'workloads/checkout.yaml': (text) =>
      text.replace('purposes:\n', invoices).replace('max: 1h }\n    when', 'max: 20m }\n    when'),
  })

  const shown = await writ('dana@security', 'policy', 'diff', world.policies.dir, dir, '--live', world.url, '--json')
  expect(shown.status, shown.err).toBe(0)
  const { changes, preview } = JSON.parse(shown.out)
  expect(changes.length).toBeGreaterThan(2)
  expect(preview).toMatchObject({ live: 3, unsupported: 0, unseen: 0 })
  expect(preview.ends).toEqual([
    {
      grant: lost.grant,
      workload: 'nightly-report',
      owner: 'payments',
      purpose: 'read-orders',
      credential: 'orders-ro',
      reason: 'purpose: read-orders of nightly-report is gone',
    },
  ])
  expect(preview.shortened).toMatchObject([{ grant: long.grant, reason: 'purpose: it is lower' }])
  expect(preview.allowed).toMatchObject([{ workload: 'checkout', purpose: 'read-invoices', requests: 3 }])
  expect(preview.refused).toMatchObject([{ workload: 'nightly-report', purpose: 'read-orders', requests: 1 }])
  for (const secret of ['hunter2', 'customer called', 'system:serviceaccount']) expect(shown.out).not.toContain(secret)

  const markdown = await writ(
    'dana@security',
    'policy',
    'diff',
    world.policies.dir,
    dir,
    '--live',
    world.url,
    '--format',
    'markdown',
  )
  expect(markdown.out).toContain('1 of 3 live grants would end (33 %)')
  expect(markdown.out).toContain(
    `| ${lost.grant.replace('_', '\\_')} | nightly-report | payments | read-orders | orders-ro |`,
  )
  expect(markdown.out).toContain('3 of')
  const text = await writ('dana@security', 'policy', 'diff', world.policies.dir, dir, '--live', world.url)
  expect(text.out).toMatch(/1 of 3 live grants would end/)

  // An owner sees what is theirs, and nobody else anything.
  const owner = await writ('alice@payments', 'policy', 'diff', world.policies.dir, dir, '--live', world.url, '--json')
  expect(JSON.parse(owner.out).preview).toMatchObject({ live: 3, unseen: 0 })
  expect((await writ('checkout', 'policy', 'diff', world.policies.dir, dir, '--live', world.url)).status).toBe(3)

  await cp(dir, world.policies.dir, { recursive: true })
  await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  const status = JSON.parse((await writ('dana@security', 'policy', 'status', '--json')).out)
  expect(status.held).toMatchObject({ would_end: 1, reasons: [{ grants: 1 }] })
  expect((await writ('dana@security', 'policy', 'status')).out).toMatch(
    /HELD since .*: 1 of 3 live grants would end\nGRANTS {2}REASON\n1 /,
  )
  expect((await writ('alice@payments', 'policy', 'status')).status).toBe(3)
  expect((await writ('dana@security', 'policy', 'accept', 'abc')).status).toBe(2)
  expect((await writ('dana@security', 'policy', 'accept', '0'.repeat(12))).status).toBe(1)
  const accepted = await writ('dana@security', 'policy', 'accept', status.digest.slice(0, 12))
  expect(accepted.status, accepted.err).toBe(0)
  await eventually(async () => ((await world.login(lost.secret)) === 'in' ? undefined : true), 'the login is refused')
  expect(await world.login(kept.secret)).toBe('in')
  expect(await world.entries({ kind: 'grant.ending' })).toMatchObject([{ grant: lost.grant }])
  await eventually(
    async () => ((await world.entries({ kind: 'grant.shortened' }))[0]?.grant === long.grant ? true : undefined),
    'the long one is shortened',
  )
  expect((await writ('dana@security', 'policy', 'accept', status.digest)).status).toBe(1)
  expect((await world.issue('checkout', { purpose: 'read-invoices' })).status).toBe(201)
})

test('a comment is bounded, and nothing in a policy breaks out of its table', async () => {
  const file = 'workloads/checkout.yaml'
  const many = Array.from(
    { length: 95 },
    (_, at) =>
      `  - id: extra-${at}\n    because: x\n    environment: prod\n    credentials: [orders-ro]\n    ttl: { max: 15m }\n`,
  ).join('')
  const before = await branch({
    [file]: (text) => text.replace(/when: .*/, 'when: request.reason == "<img src=x> | @all `"'),
  })
  const after = await branch({ [file]: (text) => text.replace('purposes:\n', `purposes:\n${many}`) })
  const { out, status } = await writ('checkout', 'policy', 'diff', before, after, '--format', 'markdown')
  expect(status).toBe(0)
  expect(out.length).toBeLessThan(65_536)
  expect(out).toMatch(/… and \d+ more/)
  const { out: turned } = await writ('checkout', 'policy', 'diff', before, world.policies.dir, '--format', 'markdown')
  expect(turned).toContain('&lt;img src=x\\> \\| &#64;all \\`')
  for (const line of turned.split('\n').filter((row) => row.startsWith('| '))) {
    expect(line.replaceAll('\\|', '').split('|')).toHaveLength(6)
  }
})
