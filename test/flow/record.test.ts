import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { issuedCredentialSchema } from '../../src/contract/credential.ts'
import { openCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { leafHash } from '../../src/ledger/log/merkle.ts'
import { parseVkey } from '../../src/ledger/log/note.ts'
import { verifyInclusion } from '../../src/ledger/log/proof.ts'
import { parseBundle, tilePath, tileWidth } from '../../src/ledger/log/tile.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { openEvents } from '../support/event-source.ts'
import { naiveRoot } from '../support/naive-tree.ts'

/** The machine's time, but for short timers, which wait while it is held: checkpoints are signed by one. */
const clock = {
  ...systemClock,
  held: undefined as (() => void)[] | undefined,
  after: (delayMs: number, run: () => void) =>
    systemClock.after(delayMs, () => (delayMs <= 100 && clock.held !== undefined ? clock.held.push(run) : run())),
  release() {
    const waiting = clock.held ?? []
    clock.held = undefined
    for (const run of waiting) run()
  },
}

let world: World
beforeAll(async () => {
  world = await startWorld({
    clock,
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 100'))
    },
  })
})
afterAll(() => world?.stop())

const hold = async (as: string, body: object) => {
  const answer = await world.issue(as, body)
  expect(answer.status, answer.text).toBe(201)
  return answer.body
}
const checkout = (over: object = {}) => hold('checkout', { purpose: 'read-orders', ...over })
const get = (path: string, as: string) => world.api('GET', path, { as })
const found = async (query: string, as = 'dana@security') => {
  const { status, body } = await get(`/v1/ledger/entries?${query}`, as)
  expect(status).toBe(200)
  return body.entries
}

/** Checks a receipt against the key of the ledger and the leaf hash of the entry, in the few steps the form asks for. */
async function expectProof(receipt: string, index: number): Promise<void> {
  const end = receipt.indexOf('\n\n')
  const [form, line, ...hashes] = receipt.slice(0, end).split('\n')
  expect([form, line]).toEqual(['c2sp.org/tlog-proof@v1', `index ${index}`])
  const { size, root } = openCheckpoint(receipt.slice(end + 2), parseVkey(world.ledger.vkey))
  const [{ leaf_hash = '' } = {}] = await found(`after=${index - 1}&limit=1`)
  const of = { index, leafHash: Buffer.from(leaf_hash, 'hex'), size, root }
  verifyInclusion(
    of,
    hashes.map((hash) => Buffer.from(hash, 'base64')),
  )
}

const sshKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1V2u5cYb1bXxS9mVf2tqg4ZkHhT0e9jW8q0sPq6m1A'

describe('the receipt of an issuance', () => {
  test('is fetched by its holder, by its owner and by auditors, and proves the entry', async () => {
    const { ledger } = await checkout()
    for (const as of ['checkout', 'alice@payments', 'dana@security']) {
      const { status, text, headers } = await get(ledger.receipt, as)
      expect([as, status, headers.get('content-type')]).toEqual([as, 200, 'text/plain; charset=utf-8'])
      await expectProof(text, ledger.index)
    }
    for (const as of ['nightly-report', 'erin@sre', 'carol@platform', 'coding-agent']) {
      const [seen, absent] = [await get(ledger.receipt, as), await get('/v1/ledger/entries/999999/receipt', as)]
      expect(seen, as).toMatchObject({ status: 404, body: { code: 'not_found' } })
      expect({ ...seen.body, request_id: '' }).toEqual({ ...absent.body, request_id: '' })
    }
    // The holder may prove the entry; what else is in the record is not its own.
    expect((await get(`/v1/ledger/entries/${ledger.index}`, 'checkout')).status).toBe(404)
    for (const odd of ['x', '-1', '1.5', '01', '1e3', '%31']) {
      expect((await get(`/v1/ledger/entries/${odd}/receipt`, 'dana@security')).status).toBe(odd === '%31' ? 200 : 404)
    }
  })

  test('of an entry that is not about a grant is not for a workload, even the one it names', async () => {
    expect((await world.issue('checkout', { purpose: 'no-such' })).status).toBe(403)
    const [{ index } = { index: -1 }] = await found('kind=request.denied&order=desc&limit=1')
    expect((await get(`/v1/ledger/entries/${index}/receipt`, 'checkout')).status).toBe(404)
    expect((await get(`/v1/ledger/entries/${index}/receipt`, 'dana@security')).status).toBe(200)
  })

  test('comes with the credential when the request waits for it', async () => {
    const body = issuedCredentialSchema.strict().parse(await checkout({ receipt: 'wait' }))
    await expectProof(body.ledger.proof ?? '', body.ledger.index)
    expect(issuedCredentialSchema.parse(await checkout()).ledger).not.toHaveProperty('proof')
    const { status, body: refused } = await world.issue('checkout', { purpose: 'read-orders', receipt: 'now' })
    expect([status, refused.code]).toEqual([400, 'request_invalid'])
  })

  test('that no checkpoint covers in time does not keep the credential back, and is there later', async () => {
    clock.held = []
    try {
      const body = issuedCredentialSchema.strict().parse(await checkout({ receipt: 'wait' }))
      expect(body.ledger.proof).toBeNull()
      expect(await world.login(body.secret)).toBe('in')
      const early = await get(body.ledger.receipt, 'checkout')
      expect(early).toMatchObject({ status: 503, body: { code: 'receipt_pending' } })
      expect(Number(early.headers.get('retry-after'))).toBeGreaterThan(0)
      clock.release()
      const late = await get(body.ledger.receipt, 'checkout')
      await expectProof(late.text, body.ledger.index)
    } finally {
      clock.release()
    }
  })

  test('is not worth more than the grant: a task that ends meanwhile takes the credential with it', async () => {
    const intent = { purpose: 'fix-bug', intent: 'a look' }
    const { body: opened } = await world.api('POST', '/v1/tasks', { as: 'coding-agent', body: intent })
    clock.held = []
    try {
      const asked = world.issue('coding-agent', { purpose: 'fix-bug', task: opened.task, receipt: 'wait' })
      await eventually(async () => (await found(`kind=grant.issued&task=${opened.task}`))[0], 'the issuance')
      await world.api('POST', `/v1/tasks/${opened.task}/end`, { as: 'coding-agent' })
      expect(await asked).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
    } finally {
      clock.release()
    }
  })
})

describe('a query', () => {
  test('finds an issuance by anything that names it', async () => {
    const answer = await world.issue('checkout', { purpose: 'read-orders' })
    const { grant, secret, ledger } = answer.body
    const request = answer.headers.get('x-request-id')
    const [{ entry } = { entry: {} }] = await found(`kind=grant.issued&grant=${grant}`)
    const { token, policy, lease } = entry as { token: string; policy: string; lease: { hash: string } }
    const subject = encodeURIComponent('system:serviceaccount:orders:checkout')
    for (const query of [
      `id=${secret.username}`,
      `id=${lease.hash}`,
      `token=${token}&kind=grant.issued`,
      `request=${request}&kind=grant.issued`,
      `workload=checkout&owner=payments&purpose=read-orders&credential=orders-ro&environment=prod&policy=${policy}&subject=${subject}&kind=grant.issued&order=desc&limit=1`,
      `grant=${grant}&order=desc&before=${ledger.index + 1}&limit=1`,
    ]) {
      expect(
        (await found(query)).map(({ index }) => index),
        query,
      ).toEqual([ledger.index])
    }
    expect(await found(`id=${secret.username}x`)).toEqual([])
    await world.issue('checkout', { purpose: 'no-such' })
    const [denied] = await found('code=purpose_unknown&order=desc&limit=1')
    expect(denied?.entry).toMatchObject({ kind: 'request.denied', workload: 'checkout' })
  })

  test('of an owner finds what is theirs, of a stranger nothing, and none is recorded as a refusal', async () => {
    await hold('nightly-report', { purpose: 'read-orders', credential: 'orders-ro' })
    const all = await found('limit=1000')
    const theirs = await found('limit=1000', 'alice@payments')
    expect(theirs).toEqual(all.filter(({ entry }) => entry.owner === 'payments'))
    expect(theirs.length).toBeGreaterThan(0)
    expect(await found('owner=platform', 'alice@payments')).toEqual([])
    expect(await found('limit=1000', 'erin@sre')).toEqual([])
    expect(await get('/v1/ledger/entries', 'checkout')).toMatchObject({ status: 403, body: { code: 'role_required' } })
  })

  test('answers the same after a restart, which makes the index anew', async () => {
    const before = await found('workload=checkout&kind=grant.issued&limit=1000')
    await world.restart()
    expect(await found('workload=checkout&kind=grant.issued&limit=1000')).toEqual(before)
  })
})

describe('the events of the ledger', () => {
  const events = async (as: string, query = '', lastEventId?: string, ttlSeconds?: number) =>
    openEvents(`${world.url}/v1/ledger/events${query}`, await world.token(as, {}, ttlSeconds), lastEventId)

  test('come as they are recorded, to whoever may see them, and go on where a client left off', async () => {
    const [auditor, owner, other] = await Promise.all(
      ['dana@security', 'alice@payments', 'carol@platform'].map((as) => events(as)),
    )
    const first = await checkout()
    const isOf = (grant: string) => ({ event: 'entry', data: { entry: { grant } } })
    for (const source of [auditor, owner]) {
      const [intent, issued] = (await source?.take(2)) ?? []
      expect([intent, issued]).toMatchObject([isOf(first.grant), isOf(first.grant)])
      expect(issued).toMatchObject({ id: String(first.ledger.index), data: { entry: { kind: 'grant.issued' } } })
    }
    auditor?.close()
    const second = await hold('shop-deploy', { purpose: 'deploy', params: { public_key: sshKey } })
    const third = await checkout()
    const again = await events('dana@security', '', String(first.ledger.index))
    // The job's task is opened first.
    const [, , missed] = await again.take(3)
    expect(missed).toMatchObject({ id: String(second.ledger.index), data: { entry: { grant: second.grant } } })
    expect((await again.take(2))[1]).toMatchObject(isOf(third.grant))
    // Each owner saw what is theirs and nothing between.
    expect((await owner?.take(2))?.map(({ data }) => data.entry.grant)).toEqual([third.grant, third.grant])
    expect((await other?.take(3))?.slice(1).map(({ data }) => data.entry.grant)).toEqual([second.grant, second.grant])
    other?.close()
    again.close()
    owner?.close()
  })

  test('are filtered, and begin at a place or a time', async () => {
    const { grant, ledger } = await checkout()
    const one = await events('dana@security', `?grant=${grant}&after=0`)
    expect((await one.take(2)).map(({ data }) => data.index)).toEqual([ledger.index - 1, ledger.index])
    const [{ entry } = { entry: {} }] = await found(`kind=grant.issued&grant=${grant}`)
    const { time } = entry as { time: string }
    const since = await events('dana@security', `?kind=grant.issued&from=${time}`)
    expect((await since.take(1))[0]?.data.index).toBe(ledger.index)
    one.close()
    since.close()
  })

  test('are refused to workloads, and from a place that is not on record', async () => {
    expect((await events('checkout')).status).toBe(403)
    expect((await events('dana@security', '?after=999999')).status).toBe(400)
    const before = await found('kind=request.denied&order=desc&limit=1')
    expect((await events('dana@security', '', '999999')).status).toBe(400)
    expect(await found('kind=request.denied&order=desc&limit=1')).toEqual(before)
  })

  test('end when the token does', async () => {
    const source = await events('dana@security', '', undefined, 2)
    const { grant } = await checkout()
    const seen = await source.rest()
    expect(seen.map(({ data }) => data.entry.grant)).toContain(grant)
  })

  test('end for somebody who has left the team, at the next thing that happens', async () => {
    const source = await events('bob@payments')
    await world.policies.edit('teams/payments.yaml', (text) => text.replace(/.*bob@payments.*\n/, ''))
    expect((await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })).status).toBe(200)
    const { grant } = await checkout()
    expect((await source.rest()).map(({ data }) => data.entry.grant)).not.toContain(grant)
  })

  test('end when the broker stops, and can be resumed at the next', async () => {
    const source = await events('dana@security', '?kind=grant.issued')
    const { ledger } = await checkout()
    const [last] = await source.take(1)
    await world.restart()
    await source.rest()
    const { grant } = await checkout()
    const again = await events('dana@security', '?kind=grant.issued', last?.id)
    expect(last?.id).toBe(String(ledger.index))
    expect((await again.take(1))[0]?.data.entry.grant).toBe(grant)
    again.close()
  })
})

describe('the published log', () => {
  test('holds every entry, for auditors alone, and adds up to its checkpoint', async () => {
    await checkout()
    const answers = await Promise.all(
      ['dana@security', 'alice@payments', 'checkout', undefined].map((as) =>
        world.api('GET', '/log/checkpoint', as === undefined ? {} : { as }),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual([200, 403, 403, 401])
    const { size, root } = openCheckpoint(answers[0]?.text ?? '', parseVkey(world.ledger.vkey))
    const token = await world.token('dana@security')
    const leaves: Uint8Array[] = []
    const raw: string[] = []
    for (let n = 0; n * tileWidth < size; n++) {
      const width = Math.min(tileWidth, size - n * tileWidth)
      const path = `/log/${tilePath({ level: 'entries', n, width })}`
      const response = await fetch(`${world.url}${path}`, { headers: { authorization: `Bearer ${token}` } })
      const entries = parseBundle(Buffer.from(await response.arrayBuffer()), width)
      leaves.push(...entries)
      raw.push(...entries.map((bytes) => bytes.toString()))
    }
    expect(naiveRoot(leaves).equals(root)).toBe(true)
    const [last] = await found(`before=${size}&order=desc&limit=1`)
    expect(last?.leaf_hash).toBe(Buffer.from(leafHash(leaves.at(-1) ?? Buffer.of())).toString('hex'))
    expect(JSON.parse(raw.at(-1) ?? '')).toEqual(last?.entry)
  })
})
