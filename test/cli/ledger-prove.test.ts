import { once } from 'node:events'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import { parseVkey, signingKeyOf } from '../../src/ledger/log/note.ts'
import { createReceipt, verifyReceipt } from '../../src/ledger/log/receipt.ts'
import {
  endedEntry,
  grantOf,
  intentEntry,
  issuedEntry,
  loadedEntry,
  numberedEntry,
  renewedEntry,
} from '../support/entries.ts'
import { openTestLedger, origin, testKey, withFolder } from '../support/ledger.ts'
import { decimalLog, tileLog } from '../support/tile-log.ts'
import logs from '../vectors/logs/sources.json' with { type: 'json' }
import { runWrit } from './run-writ.ts'
import { refusal, scriptedBroker } from './scripted-broker.ts'

const { vkey } = testKey
const otherKey = signingKeyOf(origin, Buffer.alloc(32, 9)).vkey
const story = [intentEntry(1), issuedEntry(1), renewedEntry(1), endedEntry(1)]
const storyAt = [301, 302, 303, 304]
const vectorLog = (name: string): string => join(import.meta.dirname, '../vectors/logs', name)

/** A real ledger of 600 entries, with the life of grant 1 in it, and a folder for what a command writes. */
const withLedger = (use: (dir: string, out: string) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const dir = join(folder, 'ledger')
    const ledger = await openTestLedger(dir, { segmentBytes: 20_000 })
    await ledger.append(loadedEntry)
    const rest = Array.from({ length: 595 }, (_, n) => numberedEntry(n))
    await Promise.all([...rest.slice(0, 300), ...story, ...rest.slice(300)].map((body) => ledger.append(body)))
    await ledger.close()
    await use(dir, join(folder, 'out'))
  })

describe('writ ledger prove', () => {
  it('proves an entry by its index, and keeps it with its receipt, so that each file proves the other', () =>
    withLedger(async (dir, out) => {
      for (const index of [0, 255, 256, 599]) {
        const { status, out: shown } = await runWrit([
          'ledger',
          'prove',
          String(index),
          dir,
          '--vkey',
          vkey,
          '--out',
          out,
        ])
        expect(status).toBe(0)
        expect(shown).toMatch(new RegExp(`^ +${index} {2}\\S+Z {2}(config\\.changed|policy\\.loaded) `))
        expect(shown).toMatch(
          new RegExp(`proved: entry ${index} of the 600 of ${origin}, root [0-9a-f]{64}, signature verified`),
        )
        const [entry, receipt] = [join(out, `${index}.json`), join(out, `${index}.tlog-proof`)]
        const checked = await runWrit(['ledger', 'check-receipt', receipt, '--entry', entry, '--vkey', vkey])
        expect(checked).toMatchObject({ status: 0, err: '' })
        expect(checked.out).toMatch(`proved: entry ${index} of the 600 of ${origin}`)
      }
      expect(await readdir(out)).toHaveLength(8)
    }))

  it('proves every entry of a grant, in order', () =>
    withLedger(async (dir) => {
      const { status, out } = await runWrit(['ledger', 'prove', grantOf(1), dir, '--vkey', vkey, '--json'])
      expect(status).toBe(0)
      const { signature, entries } = JSON.parse(out)
      expect(signature).toBe('verified')
      expect(entries.map(({ index }: { index: number }) => index)).toEqual(storyAt)
      expect(entries.map(({ entry }: { entry: { kind: string } }) => entry.kind)).toEqual(story.map(({ kind }) => kind))
      for (const { entry, receipt, index, size, root } of entries) {
        const proven = verifyReceipt({ receipt, entry: Buffer.from(canonicalJson(entry)), keys: [parseVkey(vkey)] })
        expect(proven).toMatchObject({ index, checkpoint: { size } })
        expect(Buffer.from(proven.checkpoint.root).toString('hex')).toBe(root)
      }
    }))

  it('finds an entry by what was minted', () =>
    withLedger(async (dir) => {
      const { out } = await runWrit(['ledger', 'prove', 'v-checkout-1', dir, '--vkey', vkey])
      expect(out).toMatch(/^ +302 .* grant\.issued .*\n +proved: entry 302 /)
    }))

  it('proves entries that were moved to another folder', () =>
    withLedger(async (dir, archive) => {
      await cp(join(dir, 'tile/entries/000'), join(archive, 'tile/entries/000'))
      await rm(join(dir, 'tile/entries/000'))
      const prove = (...args: string[]) => runWrit(['ledger', 'prove', '7', dir, '--vkey', vkey, ...args])
      expect(await prove()).toMatchObject({ status: 6, err: expect.stringContaining('--archive') })
      expect((await prove('--archive', archive)).status).toBe(0)
      const { out } = await runWrit([
        'ledger',
        'prove',
        grantOf(1),
        dir,
        '--vkey',
        vkey,
        '--archive',
        archive,
        '--json',
      ])
      expect(JSON.parse(out).entries).toHaveLength(4)
      expect((await prove('--archive', join(dir, 'none'))).status).toBe(1)
    }))

  it('without a key checks the proof, and says what was not checked', () =>
    withLedger(async (dir) => {
      const { status, out, err } = await runWrit(['ledger', 'prove', '7', dir])
      expect(status).toBe(0)
      expect(out).toContain('signature unchecked')
      expect(err).toContain('who signed the checkpoint was not checked')
    }))

  it('proves entries of a ledger while it is written, as far as its checkpoint covers them', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir)
      for (let n = 0; n < 3; n++) await ledger.append(numberedEntry(n))
      expect(await runWrit(['ledger', 'prove', '2', dir, '--vkey', vkey])).toMatchObject({
        status: 1,
        out: '',
        err: expect.stringMatching(
          /there is no entry 2: the newest checkpoint covers 0\n.*wait for the next checkpoint/,
        ),
      })
      await ledger.close()
      expect((await runWrit(['ledger', 'prove', '2', dir, '--vkey', vkey])).status).toBe(0)
    }))

  it.each([
    ['a key of another log', { vkey: logs.tessera.vkey }],
    ['another key of the same name', { vkey: otherKey }],
    [
      'another root in the checkpoint',
      { file: 'checkpoint', change: (text: string) => text.replace(/^[\w+/]{4}/m, 'AAAA') },
    ],
  ])(
    'exits 6 with %s',
    (_, { vkey: given = vkey, file, change }: { vkey?: string; file?: string; change?: (text: string) => string }) =>
      withLedger(async (dir) => {
        if (file !== undefined && change !== undefined) {
          await writeFile(join(dir, file), change(await readFile(join(dir, file), 'utf8')))
        }
        const { status, out, err } = await runWrit(['ledger', 'prove', '7', dir, '--vkey', given])
        expect({ status, out }).toEqual({ status: 6, out: '' })
        expect(err).toContain('NOT proved')
      }),
  )

  it.each(['tile/0/001', 'tile/1/000.p/2', 'tile/0/002.p/88', 'tile/entries/001'])(
    'exits 6 when %s is altered, cut short or missing',
    (path) =>
      withFolder(async (dir) => {
        const log = tileLog(Array.from({ length: 600 }, (_, n) => canonicalJson({ kind: 'x', n })))
        await log.write(dir)
        const prove = () => runWrit(['ledger', 'prove', '300', dir, '--vkey', vkey])
        expect((await prove()).status).toBe(0)
        const sound = await readFile(join(dir, path))
        // The first hash of each of these tiles has its part in the proof of entry 300.
        const altered = Buffer.from(sound)
        altered.fill(
          '4',
          path.includes('entries') ? sound.indexOf('300') : 0,
          path.includes('entries') ? sound.indexOf('300') + 1 : 8,
        )
        for (const bytes of [altered, sound.subarray(0, -1), Buffer.of()]) {
          await writeFile(join(dir, path), bytes)
          const { status, out, err } = await prove()
          expect({ status, out }).toEqual({ status: 6, out: '' })
          expect(err).toContain('NOT proved')
        }
        await rm(join(dir, path))
        expect(await prove()).toMatchObject({ status: 6, err: expect.stringContaining(`${path} is missing`) })
      }),
  )

  it('says when nothing names what was asked for, and when there is no log', () =>
    withLedger(async (dir, out) => {
      const nothing = await runWrit(['ledger', 'prove', grantOf(2), dir, '--vkey', vkey])
      expect(nothing).toMatchObject({ status: 1, err: expect.stringContaining(`names ${grantOf(2)}`) })
      expect((await runWrit(['ledger', 'prove', '1', join(dir, 'none')])).status).toBe(1)
      expect((await runWrit(['ledger', 'prove', '1', join(dir, 'segments')])).status).toBe(1)
      expect((await runWrit(['ledger', 'prove'])).status).toBe(2)
      expect((await runWrit(['ledger', 'prove', '1', dir, '--vkey', 'k'])).status).toBe(2)
      expect((await runWrit(['ledger', 'prove', '1', dir, '--url', 'https://writ.test'])).status).toBe(2)
      expect((await runWrit(['ledger', 'prove', '1', dir, '--out', join(dir, 'checkpoint')])).status).toBe(1)
      expect(await readdir(dir)).not.toContain(out)
    }))

  it('proves entries of logs that other programs wrote', async () => {
    for (const [name, { vkey: theirs, size }] of Object.entries(logs)) {
      for (const index of [0, 255, 256, size - 1]) {
        const proved = await runWrit(['ledger', 'prove', String(index), vectorLog(name), '--vkey', theirs])
        expect(proved).toMatchObject({ status: 0, err: '' })
        expect(proved.out).toContain(`proved: entry ${index} of the ${size} of log.example/${name}`)
      }
      expect((await runWrit(['ledger', 'prove', '0', vectorLog(name), '--vkey', vkey])).status).toBe(6)
    }
  })

  it('makes text of others harmless', () =>
    withFolder(async (dir) => {
      await tileLog(['{"kind":"\\u001b[2Jx","actor":7}', 'not JSON \u001b[2J']).write(dir)
      const { out } = await runWrit(['ledger', 'prove', '0', dir, '--vkey', vkey])
      expect(out).toContain('\\u{1b}[2Jx')
      expect((await runWrit(['ledger', 'prove', '1', dir, '--vkey', vkey])).out).not.toContain('\u001b')
    }))
})

describe('writ ledger prove, from a URL', () => {
  const log = decimalLog(600)

  /** A static server of the log; `change` may answer otherwise. */
  async function withServer(
    use: (url: string, asked: readonly string[]) => Promise<void>,
    change: (path: string) => Answer | undefined = () => undefined,
  ): Promise<void> {
    const asked: string[] = []
    const server = createServer((request, response) => {
      const path = (request.url ?? '').replace(/^\/log\//, '')
      asked.push(path)
      const file = log.files.get(path)
      const found: Answer = file === undefined ? { status: 404 } : { status: 200, body: file }
      const { status, body, headers } = change(path) ?? found
      response.writeHead(status, headers).end(body)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    try {
      await use(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/log`, asked)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  }
  interface Answer {
    readonly status: number
    readonly body?: Buffer
    readonly headers?: Record<string, string>
  }
  const prove = (url: string, index = '599') => runWrit(['ledger', 'prove', index, url, '--vkey', vkey])

  it('proves an entry, fetching no more than its proof needs', () =>
    withServer(async (url, asked) => {
      const { status, out } = await prove(url)
      expect(status).toBe(0)
      expect(out).toContain(`proved: entry 599 of the 600 of ${origin}`)
      const needed = ['checkpoint', 'tile/0/002.p/88', 'tile/1/000.p/2', 'tile/entries/002.p/88']
      expect([...asked].sort()).toEqual(needed)
      expect((await prove(`${url}/`)).status).toBe(0)
    }))

  it('takes the full tile where a partial one is gone, and gzip', () => {
    const larger = decimalLog(768)
    const gzip = { 'content-encoding': 'gzip' }
    return withServer(
      async (url) => expect(await prove(url)).toMatchObject({ status: 0, err: '' }),
      (path) => {
        if (path.endsWith('.p/88')) return { status: 404 }
        const full = path.includes('/002') ? larger.files.get(path) : log.files.get(path)
        return full && { status: 200, body: gzipSync(full), headers: gzip }
      },
    )
  })

  it.each([
    [
      'a tile of other bytes',
      (path: string) => path.startsWith('tile/1') && { status: 200, body: Buffer.alloc(64) },
      6,
    ],
    ['a tile that is missing', (path: string) => path.startsWith('tile/1') && { status: 404 }, 6],
    [
      'a tile without an end',
      (path: string) => path.startsWith('tile/1') && { status: 200, body: Buffer.alloc(9000) },
      6,
    ],
    [
      'gzip without an end',
      () => ({ status: 200, body: gzipSync(Buffer.alloc(2 ** 25)), headers: { 'content-encoding': 'gzip' } }),
      1,
    ],
    ['another place', () => ({ status: 302, headers: { location: 'http://127.0.0.1:1/' } }), 1],
    ['a failure', () => ({ status: 500 }), 5],
    ['a question who asks', () => ({ status: 401 }), 4],
    ['no checkpoint', (path: string) => path === 'checkpoint' && { status: 404 }, 1],
  ])('answered with %s says so in its status', (_, change, expected) =>
    withServer(
      async (url) => expect(await prove(url)).toMatchObject({ status: expected, out: '' }),
      (path) => change(path) || undefined,
    ),
  )

  it('is refused where anybody on the way could answer, and unavailable where nobody does', async () => {
    expect((await prove('http://log.example/')).status).toBe(2)
    expect((await prove('https://')).status).toBe(2)
    expect((await prove('http://127.0.0.1:1/')).status).toBe(5)
  })
})

describe('writ ledger prove, from a broker', () => {
  const entry = { kind: 'config.changed', setting: 'n1', detail: 'é', v: 1 }
  const log = tileLog(['{}', canonicalJson(entry), canonicalJson({ ...entry, setting: 'n2' })])

  async function withBroker(
    use: (run: (...args: string[]) => ReturnType<typeof runWrit>, asked: () => readonly string[]) => Promise<void>,
    change: (receipt: string) => string = (receipt) => receipt,
  ): Promise<void> {
    const receipt = change(await createReceipt(log, 1))
    // The fields come in another order than they were hashed in.
    const stored = { index: 1, leaf_hash: 'ab', entry: Object.fromEntries(Object.entries(entry).reverse()) }
    const broker = await scriptedBroker({
      'GET /v1/ledger/entries': ({ path }) => {
        const isFirst = !path.includes('after=')
        return { status: 200, body: { entries: isFirst ? [] : [stored], next: isFirst ? 0 : null } }
      },
      'GET /v1/ledger/entries/1': () => ({ status: 200, body: stored }),
      'GET /v1/ledger/entries/1/receipt': () => ({
        status: 200,
        body: receipt,
        headers: { 'content-type': 'text/plain' },
      }),
      'GET /v1/ledger/entries/2': () => refusal('not_found'),
    })
    const env = { WRIT_URL: broker.url, WRIT_TOKEN: 'tok' }
    try {
      await use(
        (...args) => runWrit(['ledger', 'prove', ...args], { env }),
        () => broker.seen.map(({ path, token }) => `${token} ${path}`),
      )
    } finally {
      await broker.close()
    }
  }

  it('fetches the entry and its receipt, and verifies them here', () =>
    withBroker(async (run, asked) => {
      const { status, out } = await run('1', '--vkey', vkey, '--json')
      expect(status).toBe(0)
      expect(JSON.parse(out)).toMatchObject({ signature: 'verified', entries: [{ index: 1, size: 3, entry }] })
      expect(asked()).toEqual(['tok /v1/ledger/entries/1', 'tok /v1/ledger/entries/1/receipt'])
    }))

  it.each([
    [grantOf(1), 'grant'],
    [grantOf(1).replace('gr_', 'tsk_'), 'task'],
    [grantOf(1).replace('gr_', 'ap_'), 'approval'],
    [grantOf(1).replace('gr_', 'rq_'), 'request'],
    ['v-checkout-1', 'id'],
  ])('asks for the entries that name %s by its %s, page by page', (id, name) =>
    withBroker(async (run, asked) => {
      expect((await run(id, '--vkey', vkey)).status).toBe(0)
      expect(asked()).toEqual([
        `tok /v1/ledger/entries?${name}=${id}&limit=1000`,
        `tok /v1/ledger/entries?${name}=${id}&limit=1000&after=0`,
        'tok /v1/ledger/entries/1/receipt',
      ])
    }),
  )

  it('exits 6 for a receipt that does not hold, is for another entry, or is none', async () => {
    const other = await createReceipt(log, 2)
    for (const change of [(text: string) => text.replace('index 1', 'index 0'), () => other, () => 'hello']) {
      await withBroker(async (run) => {
        for (const key of [[], ['--vkey', vkey]]) {
          const { status, out } = await run('1', ...key)
          expect({ status, out }).toEqual({ status: 6, out: '' })
        }
      }, change)
    }
    await withBroker(async (run) => expect((await run('1', '--vkey', otherKey)).status).toBe(6))
  })

  it('passes on what the broker says when it refuses', () =>
    withBroker(async (run) => {
      expect(await run('2')).toMatchObject({ status: 1, err: expect.stringContaining('not_found') })
    }))
})

describe('writ ledger check-receipt', () => {
  const log = tileLog(['a', 'b', 'c'])
  const withReceipt = (use: (receipt: string, entry: string) => Promise<void>): Promise<void> =>
    withFolder(async (dir) => {
      await writeFile(join(dir, 'r'), await createReceipt(log, 1))
      await writeFile(join(dir, 'e'), 'b')
      await use(join(dir, 'r'), join(dir, 'e'))
    })

  it('takes the entry from standard input too, and prints JSON', () =>
    withReceipt(async (receipt) => {
      const args = ['ledger', 'check-receipt', receipt, '--entry', '-', '--vkey', vkey, '--json']
      const { status, out } = await runWrit(args, { stdin: 'b' })
      expect(status).toBe(0)
      expect(JSON.parse(out)).toEqual({ ok: true, index: 1, origin, size: 3, root: log.root.toString('hex') })
      const refused = await runWrit(args, { stdin: 'b\n' })
      expect(refused).toMatchObject({ status: 6, err: expect.stringContaining('not a proof of this entry') })
      expect(JSON.parse(refused.out)).toMatchObject({ error: { exit: 6 } })
    }))

  it('takes any of several keys, and refuses all others', () =>
    withReceipt(async (receipt, entry) => {
      const check = (...keys: string[]) =>
        runWrit(['ledger', 'check-receipt', receipt, '--entry', entry, ...keys.flatMap((key) => ['--vkey', key])])
      expect((await check(otherKey, vkey)).status).toBe(0)
      expect(await check(otherKey)).toMatchObject({ status: 6, out: '', err: expect.stringContaining('NOT proved') })
    }))

  it('exits 2 without a key or an entry, and 1 when a file is not there or not a receipt’s size', () =>
    withReceipt(async (receipt, entry) => {
      const check = (...args: string[]) => runWrit(['ledger', 'check-receipt', ...args])
      expect((await check(receipt, '--entry', entry)).status).toBe(2)
      expect((await check(receipt, '--vkey', vkey)).status).toBe(2)
      expect((await check(`${receipt}x`, '--entry', entry, '--vkey', vkey)).status).toBe(1)
      expect((await check(receipt, '--entry', `${entry}x`, '--vkey', vkey)).status).toBe(1)
      await writeFile(entry, Buffer.alloc(2 * 1024 * 1024))
      expect((await check(receipt, '--entry', entry, '--vkey', vkey)).status).toBe(1)
    }))

  it('works on a copy of a ledger that is gone', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(join(dir, 'ledger'))
      await ledger.append(loadedEntry)
      await ledger.close()
      await cp(join(dir, 'ledger'), join(dir, 'copy'), { recursive: true })
      await rm(join(dir, 'ledger'), { recursive: true })
      expect((await runWrit(['ledger', 'prove', '0', join(dir, 'copy'), '--vkey', vkey])).status).toBe(0)
    }))
})
