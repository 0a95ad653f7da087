import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { logUrl } from '../../../src/ledger/source/log-url.ts'
import { SourceError } from '../../../src/ledger/source/tile-source.ts'
import { createUrlSource } from '../../../src/ledger/source/tile-url.ts'
import { type VerifyOptions, type VerifyReport, verifyLedger } from '../../../src/ledger/verify/check.ts'
import { type HttpPeer, startPeer } from '../../support/http-peer.ts'
import { testKey, withFolder } from '../../support/ledger.ts'
import { flipped, smallEntries, verifyDir } from '../../support/log-folder.ts'
import { tileLog } from '../../support/tile-log.ts'

const log = tileLog(smallEntries(600))
const grown = tileLog(smallEntries(700))

type Answer = (path: string, response: ServerResponse) => void
const serve =
  (files: ReadonlyMap<string, Buffer>): Answer =>
  (path, response) => {
    const bytes = files.get(path)
    response.writeHead(bytes === undefined ? 404 : 200).end(bytes)
  }
/** As the log is served, but for one path. */
const but = (wrong: string, answer: (response: ServerResponse, bytes: Buffer) => void): Answer => {
  const right = serve(log.files)
  return (path, response) =>
    path === wrong ? answer(response, log.files.get(path) ?? Buffer.alloc(0)) : right(path, response)
}

async function withServer<T>(answer: Answer, use: (url: URL, peer: HttpPeer) => Promise<T>): Promise<T> {
  const peer = await startPeer(({ path }, response) => answer(path.replace('/log/', ''), response))
  try {
    return await use(logUrl(`${peer.url}/log`), peer)
  } finally {
    await peer.close()
  }
}
const verifyUrl = (answer: Answer, more: Partial<VerifyOptions> = {}): Promise<VerifyReport> =>
  withServer(answer, (url) => verifyLedger({ vkey: testKey.vkey, ...more, url }))

/** One tile from a server, with as little waiting between tries as there can be. */
const tileFrom = (answer: Answer, signal?: AbortSignal) =>
  withServer(answer, async (url, peer) => {
    const source = createUrlSource({ url, retryMs: 1, ...(signal && { signal }) })
    try {
      const found = await source.tile({ level: 0, n: 0, width: 256 })
      return { bytes: found?.bytes, asked: peer.asked.length }
    } finally {
      await source.close()
    }
  })

describe('a log at a URL', () => {
  it('is verified to the same report as its folder, each file asked for once', () =>
    withFolder(async (dir) => {
      await log.write(dir)
      await withServer(serve(log.files), async (url, peer) => {
        expect(await verifyLedger({ url, vkey: testKey.vkey })).toEqual(await verifyDir(dir))
        const asked = peer.asked.map(({ path }) => path.replace('/log/', '')).sort()
        expect(asked).toEqual([...log.files.keys()].sort())
      })
    }))

  it('may be compressed', async () => {
    const zipped: Answer = (path, response) => {
      const bytes = log.files.get(path)
      if (bytes === undefined) response.writeHead(404).end()
      else response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(bytes))
    }
    expect(await verifyUrl(zipped)).toMatchObject({ ok: true, entries: 600 })
  })

  it('may grow while it is read: for a partial tile that is gone the wider one is cut, or the full one', async () => {
    // 600 entries end in a bundle of 88; the server has 700 by now, or 800, where it is full.
    for (const now of [grown, tileLog(smallEntries(800))]) {
      let first = true
      const later = serve(now.files)
      const answer: Answer = (path, response) => {
        if (path === 'checkpoint' && first) {
          first = false
          response.end(log.files.get(path))
        } else later(path, response)
      }
      expect(await verifyUrl(answer)).toMatchObject({ ok: true, entries: 600, signed: { size: 600 } })
    }
  })

  it('is verified against a checkpoint saved earlier', async () => {
    const since = log.checkpoint()
    expect(await verifyUrl(serve(grown.files), { since })).toMatchObject({ ok: true, since: { size: 600 } })
    const back = await verifyUrl(serve(log.files), { since: grown.checkpoint() })
    expect(back).toMatchObject({ ok: false, problems: [{ rule: 'since' }] })
  })

  it('is not verified when what is served is wrong, which is named', async () => {
    for (const path of ['tile/0/001', 'tile/1/000.p/2', 'tile/0/002.p/88']) {
      const { ok, problems } = await verifyUrl(but(path, (response, bytes) => response.end(flipped(bytes, 33))))
      expect(ok).toBe(false)
      expect(problems.map((problem) => problem.path)).toEqual([path])
    }
    const page = await verifyUrl(but('tile/entries/001', (response) => response.end('<html>')))
    expect(page.problems).toMatchObject([{ rule: 'bundle', path: 'tile/entries/001' }])
    const gone = await verifyUrl(but('tile/entries/001', (response) => response.writeHead(404).end()))
    expect(gone.problems).toMatchObject([{ rule: 'bundle', path: 'tile/entries/001' }])
    const nothing = await verifyUrl((_, response) => response.writeHead(404).end())
    expect(nothing).toMatchObject({ ok: false, problems: [{ rule: 'checkpoint' }] })
  })

  it('that goes away can be gone on with from where it was', () =>
    withFolder(async (dir) => {
      const stateFile = join(dir, 'state')
      let there = false
      const answer: Answer = (path, response) =>
        there || path !== 'tile/entries/001' ? serve(log.files)(path, response) : response.writeHead(403).end()
      await withServer(answer, async (url) => {
        const verify = () => verifyLedger({ url, vkey: testKey.vkey, stateFile })
        await expect(verify()).rejects.toThrow(SourceError)
        expect(JSON.parse(await readFile(stateFile, 'utf8')).progress.levels[1]).toHaveLength(44)
        there = true
        expect(await verify()).toMatchObject({ ok: true, entries: 600 })
      })
    }))
})

describe('a server', () => {
  const tile = log.files.get('tile/0/000') ?? Buffer.alloc(0)

  it('that fails for a moment is asked again, four times at most', async () => {
    for (const status of [500, 502, 503, 429]) {
      let failures = 3
      const recovering: Answer = (_, response) => {
        if (failures-- > 0) response.writeHead(status).end()
        else response.end(tile)
      }
      expect(await tileFrom(recovering)).toEqual({ bytes: tile, asked: 4 })
    }
    let asked = 0
    const failing = tileFrom((_, response) => {
      asked++
      response.destroy()
    })
    await expect(failing).rejects.toThrow(/cannot be reached \(.*\), 4 times/)
    expect(asked).toBe(4)
  })

  it('that breaks off in the middle is asked again', async () => {
    let first = true
    const breaking: Answer = (_, response) => {
      if (!first) return response.end(tile)
      first = false
      response.writeHead(200, { 'content-length': tile.length })
      response.write(tile.subarray(0, 100), () => response.destroy())
      return
    }
    expect(await tileFrom(breaking)).toEqual({ bytes: tile, asked: 2 })
  })

  it('may redirect three times', async () => {
    const redirecting =
      (times: number): Answer =>
      (path, response) => {
        const done = Number(path.split('hop')[1] ?? 0)
        if (done === times) response.end(tile)
        else response.writeHead(302, { location: `/log/hop${done + 1}` }).end()
      }
    expect(await tileFrom(redirecting(3))).toEqual({ bytes: tile, asked: 4 })
    await expect(tileFrom(redirecting(4))).rejects.toThrow('redirects more than 3 times')
  })

  it.each<[string, string, Answer]>([
    [
      'redirects to another place without https',
      'redirects to no https',
      (_, response) => response.writeHead(301, { location: 'http://127.0.0.2:1/log' }).end(),
    ],
    [
      'redirects to something else than the web',
      'redirects to no https',
      (_, response) => response.writeHead(301, { location: 'file:///etc/passwd' }).end(),
    ],
    ['redirects nowhere', 'redirects nowhere', (_, response) => response.writeHead(301).end()],
    ['answers another status', 'answered 418', (_, response) => response.writeHead(418).end()],
    [
      'sends broken gzip',
      'bad gzip',
      (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('gzip'),
    ],
    [
      'sends an encoding nobody asked for',
      'an encoding that was not asked for',
      (_, response) => response.writeHead(200, { 'content-encoding': 'br' }).end(tile),
    ],
  ])('that %s is left at once', async (_, message, answer) => {
    let asked = 0
    const counted: Answer = (path, response) => {
      asked++
      answer(path, response)
    }
    const failing = tileFrom(counted)
    await expect(failing).rejects.toThrow(SourceError)
    await expect(failing).rejects.toThrow(message)
    expect(asked).toBe(1)
  })

  it.each<[string, Answer]>([
    ['sends more than a tile', (_, response) => response.end(Buffer.alloc(8193))],
    [
      'sends without end',
      (_, response) => {
        const more = (): void =>
          void (response.destroyed || response.write(Buffer.alloc(4096), () => setImmediate(more)))
        more()
      },
    ],
    [
      'sends what grows beyond a tile',
      (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(1 << 22))),
    ],
    [
      'sends too much of what does not get smaller',
      (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(randomBytes(1 << 20))),
    ],
  ])('that %s is not read beyond what shows it, and not asked again', async (_, answer) => {
    const { bytes, asked } = await tileFrom(answer)
    expect({ length: bytes?.length, asked }).toEqual({ length: 8193, asked: 1 })
    const { ok, problems } = await verifyUrl((path, response) =>
      path === 'tile/0/001' ? answer(path, response) : serve(log.files)(path, response),
    )
    expect(ok).toBe(false)
    expect(problems).toEqual([
      {
        rule: 'tile',
        path: 'tile/0/001',
        message: 'tile/0/001 holds more than 8192 bytes, and 256 hashes are 8192',
      },
    ])
  })

  it('that never answers can be left', async () => {
    const stop = new AbortController()
    const hanging = tileFrom(() => stop.abort(new Error('enough')), stop.signal)
    await expect(hanging).rejects.toThrow('enough')
  })
})

describe('the URL of a log', () => {
  it.each([
    ['https://log.test/writ', 'https://log.test/writ/'],
    ['https://log.test', 'https://log.test/'],
    ['http://localhost:8080/log/', 'http://localhost:8080/log/'],
    ['http://127.0.0.9/log', 'http://127.0.0.9/log/'],
    ['http://[::1]/log', 'http://[::1]/log/'],
  ])('%s is taken', (text, href) => expect(logUrl(text).href).toBe(href))

  it.each([
    'http://log.test/writ',
    'http://127.0.0.1.log.test/',
    'ftp://log.test/',
    'https://user:secret@log.test/',
    'https://log.test/?a=b',
    'https://log.test/#a',
    'log.test',
    '',
  ])('%s is not', (text) => expect(() => logUrl(text)).toThrow(SourceError))
})
