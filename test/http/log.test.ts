import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { ok, refuse } from '../../src/base/result.ts'
import { openCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { parseVkey } from '../../src/ledger/log/note.ts'
import { tilePath, tilesBetween } from '../../src/ledger/log/tile.ts'
import { intentEntry } from '../support/entries.ts'
import { testKey } from '../support/ledger.ts'
import { appendAll, type TestRecord, withRecord } from '../support/record.ts'
import { head, listening, send, testApp, wire } from './harness.ts'

/** 600 entries: two full bundles and a partial one of 88. */
const withLog = (use: (record: TestRecord) => Promise<void>) => (): Promise<void> =>
  withRecord(async (record) => {
    await appendAll(
      record.ledger,
      [...Array(600).keys()].map((n) => intentEntry(n)),
    )
    await use(record)
  })

const publicApp = ({ ledger }: TestRecord) => testApp({}, { publishedLog: { log: ledger, public: true } })
const auditorApp = ({ ledger }: TestRecord) =>
  testApp({ readLog: async () => ok(undefined) }, { publishedLog: { log: ledger, public: false } })

describe('a public log', () => {
  test(
    'is read without a token, byte for byte what the ledger published, at every width the checkpoint covers',
    withLog(async (record) => {
      const { app, calls } = publicApp(record)
      const note = await (await app.request('/log/checkpoint')).text()
      expect(openCheckpoint(note, parseVkey(testKey.vkey)).size).toBe(600)
      for (const id of [...tilesBetween(0, 600), ...tilesBetween(0, 512), ...tilesBetween(0, 513)]) {
        const response = await app.request(`/log/${tilePath(id)}`)
        expect(response.headers.get('content-type')).toBe('application/octet-stream')
        expect(Buffer.from(await response.arrayBuffer())).toEqual(await record.ledger.tile(id))
      }
      expect(calls).toEqual([])
    }),
  )

  test(
    'is kept by caches for ever where tiles are full, for a minute where they are partial, and a second where they change',
    withLog(async (record) => {
      const { app } = publicApp(record)
      const kept = async (path: string) => (await app.request(path)).headers.get('cache-control')
      expect(await kept('/log/tile/0/000')).toBe('public, max-age=31536000, immutable')
      expect(await kept('/log/tile/entries/001')).toBe('public, max-age=31536000, immutable')
      expect(await kept('/log/tile/0/002.p/88')).toBe('public, max-age=60')
      expect(await kept('/log/tile/1/000.p/2')).toBe('public, max-age=60')
      expect(await kept('/log/checkpoint')).toBe('public, max-age=1')
      expect(await kept('/log/tile/0/002')).toBe('no-store')
    }),
  )

  test(
    'compresses bundles for who takes it, and not hashes, which would not get smaller',
    withLog(async (record) => {
      const { app } = publicApp(record)
      const get = (path: string, accepted: string) => app.request(path, { headers: { 'accept-encoding': accepted } })
      const plain = await (await app.request('/log/tile/entries/000')).bytes()
      for (const accepted of ['gzip', 'br;q=1, GZIP;q=0.1', 'deflate,gzip']) {
        const response = await get('/log/tile/entries/000', accepted)
        expect(response.headers.get('content-encoding')).toBe('gzip')
        expect(response.headers.get('vary')).toContain('accept-encoding')
        const packed = await response.bytes()
        expect(packed.length).toBe(Number(response.headers.get('content-length')))
        expect(packed.length).toBeLessThan(plain.length / 4)
        expect(new Uint8Array(await promisify(gunzip)(packed))).toEqual(plain)
      }
      for (const accepted of ['', 'identity', 'gzip;q=0', 'gzip; q=0.000', 'br', 'xgzip', '*;q=0']) {
        const response = await get('/log/tile/entries/000', accepted)
        expect(response.headers.get('content-encoding')).toBeNull()
        expect(await response.bytes()).toEqual(plain)
      }
      for (const path of ['/log/tile/0/000', '/log/checkpoint']) {
        expect((await get(path, 'gzip')).headers.get('content-encoding')).toBeNull()
      }
    }),
  )

  test(
    'compresses two answers at a time; the others go out as they are',
    withLog(async (record) => {
      const { app } = publicApp(record)
      const headers = { 'accept-encoding': 'gzip' }
      const answers = await Promise.all(
        Array.from({ length: 40 }, () => app.request('/log/tile/entries/000', { headers })),
      )
      const packed = answers.filter((answer) => answer.headers.get('content-encoding') === 'gzip')
      expect(packed.length).toBeGreaterThan(0)
      expect(packed.length).toBeLessThan(40)
      expect(answers.every(({ status }) => status === 200)).toBe(true)
    }),
  )

  test(
    'tells who has a tile already that it has it',
    withLog(async (record) => {
      const { app } = publicApp(record)
      const ask = (path: string, headers: Record<string, string>) => app.request(path, { headers })
      for (const path of ['/log/tile/entries/000', '/log/tile/0/002.p/88', '/log/checkpoint']) {
        const tag = (await app.request(path)).headers.get('etag') ?? ''
        expect(tag).toMatch(/^"[\w-]+"$/)
        for (const known of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
          const again = await ask(path, { 'if-none-match': known })
          expect([again.status, again.headers.get('etag'), await again.text()]).toEqual([304, tag, ''])
        }
        expect((await ask(path, { 'if-none-match': `"x", "${'y'.repeat(5_000)}"` })).status).toBe(200)
      }
      const packed = await ask('/log/tile/entries/000', { 'accept-encoding': 'gzip' })
      const tag = packed.headers.get('etag') ?? ''
      const again = await ask('/log/tile/entries/000', { 'accept-encoding': 'gzip', 'if-none-match': tag })
      expect([again.status, again.headers.get('etag')]).toEqual([304, tag])
      expect(tag).not.toBe((await app.request('/log/tile/entries/000')).headers.get('etag'))
    }),
  )

  test.each([
    'tile/0/003',
    'tile/0/002',
    'tile/0/002.p/89',
    'tile/0/002.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/257',
    'tile/1/000',
    'tile/1/000.p/3',
    'tile/2/000.p/1',
    'tile/64/000',
    'tile/00/000',
    'tile/entries/003',
    'tile/entries/x000/000',
    'tile/entries/9999',
    'tile/x/000',
    'tile/0/0',
    'tile/0/000/',
    'tile/0/000.p',
    'tile/0//000',
    'tile//0/000',
    'tile/0/00%30',
    'tile/0%2f000',
    'tile/%30/000',
    'tile/',
    'tile',
    '',
    'checkpoint/',
    'segments/00000000000000000000.log',
    'lock',
  ])('has nothing at %s', async (path) => {
    await withLog(async (record) => {
      const response = await publicApp(record).app.request(`/log/${path}`)
      expect([response.status, await response.json()]).toMatchObject([404, { code: 'not_found' }])
    })()
  })

  test(
    'is not reached by a detour: what is sent is what is looked up',
    withLog(async (record) => {
      const server = await listening(publicApp(record).app)
      for (const path of [
        '/log/tile/../checkpoint',
        '/log/./checkpoint',
        '/x/../log/checkpoint',
        '/log/tile/0/../0/000',
        '/log/tile/0/%2e%2e/0/000',
        '/log/tile/entries/../../../../../etc/passwd',
        '/log/tile/..%2f..%2fcheckpoint',
        '/log/tile/0/000/..;/000',
        '//log/checkpoint',
      ]) {
        const peer = await wire(server.port)
        peer.write(head('GET', path, { Connection: 'close' }))
        expect(await peer.closed(), path).toMatch(/^HTTP\/1\.1 404 /)
      }
      const peer = await wire(server.port)
      peer.write(head('GET', 'http://writ.example.com/log/tile/0/000', { Connection: 'close' }))
      expect(await peer.closed()).toMatch(/^HTTP\/1\.1 200 /)
    }),
  )

  test(
    'answers HEAD with the headers of GET and no body, and nothing but GET and HEAD',
    withLog(async (record) => {
      const server = await listening(publicApp(record).app)
      for (const path of ['/log/checkpoint', '/log/tile/0/000', '/log/tile/entries/002.p/88']) {
        const [got, asked] = await Promise.all(
          ['GET', 'HEAD'].map((method) =>
            fetch(`${server.url}${path}`, { method, headers: { 'accept-encoding': 'identity' } }),
          ),
        )
        const names = ['content-length', 'content-type', 'etag', 'cache-control']
        expect(names.map((name) => asked?.headers.get(name))).toEqual(names.map((name) => got?.headers.get(name)))
        expect((await got?.bytes())?.length).toBe(Number(asked?.headers.get('content-length')))
        expect(await asked?.text()).toBe('')
      }
      const posted = await fetch(`${server.url}/log/checkpoint`, { method: 'POST' })
      expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    }),
  )

  test(
    'has the limits of every request',
    withLog(async ({ ledger }) => {
      const { app } = testApp({}, { limits: { maxInFlight: 0 }, publishedLog: { log: ledger, public: true } })
      expect((await app.request('/log/checkpoint')).status).toBe(503)
    }),
  )

  test('that cannot be read is a fault, not a gap', () =>
    withRecord(async ({ ledger }) => {
      const tile = () => Promise.reject(new Error('EIO'))
      const { app } = testApp({}, { publishedLog: { log: { ...ledger, tile }, public: true } })
      expect((await app.request('/log/tile/0/000.p/1')).status).toBe(500)
    }))
})

describe('a log that is not public', () => {
  test(
    'is for auditors: kept by their own caches alone',
    withLog(async (record) => {
      const { app, calls } = auditorApp(record)
      const response = await send(app, 'GET', '/log/tile/0/000')
      expect([response.status, response.headers.get('cache-control')]).toEqual([
        200,
        'private, max-age=31536000, immutable',
      ])
      expect((await send(app, 'GET', '/log/checkpoint')).headers.get('cache-control')).toBe('private, max-age=1')
      expect(calls.map(({ verb }) => verb)).toEqual(['readLog', 'readLog'])
    }),
  )

  test(
    'is closed to everybody else, whether or not there is what they ask for',
    withLog(async ({ ledger }) => {
      const readLog = async () => refuse('role_required', 'log.read', '')
      const { app } = testApp({ readLog }, { publishedLog: { log: ledger, public: false } })
      for (const path of ['/log/checkpoint', '/log/tile/0/000', '/log/tile/0/777']) {
        expect((await app.request(path)).status).toBe(401)
        expect((await send(app, 'GET', path)).status).toBe(403)
      }
    }),
  )
})
