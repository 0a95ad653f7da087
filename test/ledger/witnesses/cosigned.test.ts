import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessSkey, parseWitnessVkeys } from '../../../src/ledger/log/cosignature.ts'
import { formatSignature, parseVkey } from '../../../src/ledger/log/note.ts'
import { monitorPath, parseAddCheckpoint } from '../../../src/ledger/log/witness-protocol.ts'
import { type Cosigner, createCosigner } from '../../../src/ledger/witnesses/cosigned.ts'
import { eventually } from '../../support/child.ts'
import { type FakeClock, fakeClock } from '../../support/clock.ts'
import { type HttpPeer, startPeer } from '../../support/http-peer.ts'
import { origin, testKey, withFolder } from '../../support/ledger.ts'
import { type MemoryLog, memoryLog } from '../../support/memory-log.ts'
import { startTestWitness, witnessSkey } from '../../support/witness.ts'

const [one, two] = [1, 2].map((fill) => parseWitnessSkey(witnessSkey(`w${fill}.test`, fill)))
if (one === undefined || two === undefined) throw new Error('no keys')
const keys = parseWitnessVkeys([one.vkey, two.vkey])

interface Setting {
  readonly cosigner: Cosigner
  readonly clock: FakeClock
  /** Events of the log, warnings and errors, as `event: trouble`. */
  readonly said: string[]
  readonly rolledBack: number[]
}

function cosignerOf(urls: readonly string[], quorum = 0): Setting {
  const clock = fakeClock()
  const said: string[] = []
  const rolledBack: number[] = []
  const note = (fields: Record<string, unknown>, event: string): void => {
    said.push(`${event}: ${fields.trouble ?? ''}`)
  }
  const cosigner = createCosigner({
    witnesses: urls.map((url, at) => ({ name: `w${at + 1}`, url, vkey: [one, two][at]?.vkey ?? '' })),
    quorum,
    timeoutMs: 1000,
    origin,
    keys: [parseVkey(testKey.vkey)],
    clock,
    log: { info: note, warn: note, error: note },
    onRolledBack: (size) => rolledBack.push(size),
  })
  onTestFinished(() => cosigner.close())
  return { cosigner, clock, said, rolledBack }
}

const logOf = (count: number, name = 'leaf'): MemoryLog => {
  const log = memoryLog()
  log.append(...Array.from({ length: count }, (_, n) => `${name} ${n}`))
  return log
}

const headOf = (log: MemoryLog, size = log.size) => ({
  note: log.sign(testKey, size),
  size,
  entries: log.size,
  prove: (from: number) => log.prove(from, size),
})

async function peer(answer: Parameters<typeof startPeer>[0]): Promise<HttpPeer> {
  const server = await startPeer(answer)
  onTestFinished(() => server.close())
  return server
}

/** A witness that cosigns whatever it is given, with anything it is told to put around that. */
const cosigning = (key = one, wrap = (line: string): string => line): Promise<HttpPeer> =>
  peer(({ body }, response) => {
    const { note } = parseAddCheckpoint(Buffer.from(body))
    const text = note.slice(0, note.indexOf('\n\n') + 1)
    response.end(wrap(formatSignature(key.cosign(text, Date.UTC(2026, 10, 24)))))
  })

const answering = (
  status: number,
  body: string | Buffer = '',
  headers: Record<string, string> = {},
): Promise<HttpPeer> => peer((_, response) => void response.writeHead(status, headers).end(body))

const sizeType = { 'content-type': 'text/x.tlog.size' }

describe('a checkpoint', () => {
  it('is cosigned by real witnesses, each asked once, from the size it saw last', () =>
    withFolder((first) =>
      withFolder(async (second) => {
        const witnesses = [
          await startTestWitness(first, [testKey.vkey], { skey: witnessSkey('w1.test', 1) }),
          await startTestWitness(second, [testKey.vkey], { skey: witnessSkey('w2.test', 2) }),
        ]
        onTestFinished(async () => {
          for (const witness of witnesses) await witness.close()
        })
        const urls = witnesses.map(({ url }) => url)
        const { cosigner, said } = cosignerOf(urls, 2)
        const log = logOf(1)
        for (const more of [0, 1, 5, 300]) {
          log.append(...Array.from({ length: more }, (_, n) => `${more}/${n}`))
          const { note, ...rest } = await cosigner.cosign(headOf(log))
          expect(rest).toEqual({ cosigned: 2, enough: true })
          expect(openCheckpoint(note, parseVkey(testKey.vkey)).size).toBe(log.size)
          expect(cosignaturesOf(note, keys).map(({ name }) => name)).toEqual(['w1.test', 'w2.test'])
        }
        // Another process of the same broker knows nothing of that, and learns it from the witnesses.
        log.append('last')
        const later = cosignerOf(urls, 2)
        expect(await later.cosigner.cosign(headOf(log))).toMatchObject({ cosigned: 2 })
        expect(said).toEqual([])
        expect(later.said).toEqual([])
      }),
    ))

  it('is complete when as many have cosigned as the quorum says, and what is missing is asked for again', async () => {
    let up = false
    const witness = await cosigning(one)
    const other = await peer(({ body }, response) => {
      if (!up) return void response.writeHead(503).end()
      const { note } = parseAddCheckpoint(Buffer.from(body))
      response.end(formatSignature(two.cosign(note.slice(0, note.indexOf('\n\n') + 1), 1_000_000)))
    })
    const { cosigner, clock, said } = cosignerOf([witness.url, other.url], 2)
    const head = headOf(logOf(3))
    const half = await cosigner.cosign(head)
    expect(half).toMatchObject({ cosigned: 1, enough: false })
    up = true
    await clock.advance(500)
    const whole = await cosigner.cosign({ ...head, note: half.note })
    expect(whole).toMatchObject({ cosigned: 2, enough: true })
    expect(whole.note.startsWith(half.note)).toBe(true)
    expect(witness.asked).toHaveLength(1)
    expect(said).toEqual(['witness.failed: answered 503', 'witness.answers_again: '])
  })

  it('is handed over with the proof from what the witness has, whether it or we said so before', async () => {
    const asked = (server: HttpPeer) => server.asked.map(({ body }) => body.split('\n', 1)[0])
    let has = 2
    const witness = await peer(({ body }, response) => {
      const { from, note } = parseAddCheckpoint(Buffer.from(body))
      if (from !== has) return void response.writeHead(409, sizeType).end(`${has}\n`)
      has = Number(note.split('\n')[1])
      response.end(formatSignature(one.cosign(note.slice(0, note.indexOf('\n\n') + 1), 1_000_000)))
    })
    const { cosigner } = cosignerOf([witness.url], 1)
    const log = logOf(9)
    for (const size of [5, 7, 9]) expect(await cosigner.cosign(headOf(log, size))).toMatchObject({ enough: true })
    expect(asked(witness)).toEqual(['old 0', 'old 2', 'old 5', 'old 7'])
  })

  it('goes without when nobody is asked for', async () => {
    const { cosigner } = cosignerOf([])
    const head = headOf(logOf(1))
    expect(await cosigner.cosign(head)).toEqual({ note: head.note, cosigned: 0, enough: true })
  })

  it('waits for no witness longer than the time-out, and then leaves it alone for a while', async () => {
    let up = false
    let answered = 0
    const good = await peer(({ body }, response) => {
      const { note } = parseAddCheckpoint(Buffer.from(body))
      response.once('close', () => answered++)
      if (up) response.end(formatSignature(one.cosign(note.slice(0, note.indexOf('\n\n') + 1), 1_000_000)))
      else response.writeHead(503).end()
    })
    const silent = await peer(() => {})
    const { cosigner, clock, said } = cosignerOf([good.url, silent.url], 1)
    const log = logOf(1)
    // The one that answers has failed before, so that it is said when its answer has come.
    const before = cosigner.cosign(headOf(log))
    await eventually(async () => (said.length === 1 && silent.asked.length === 1 ? true : undefined), 'failed')
    await clock.advance(1000)
    expect(await before).toMatchObject({ cosigned: 0, enough: false })
    up = true
    await clock.advance(500)
    const pending = cosigner.cosign(headOf(log))
    await eventually(async () => (said.length === 3 && silent.asked.length === 2 ? true : undefined), 'answered')
    await clock.advance(1000)
    expect(await pending).toMatchObject({ cosigned: 1, enough: true })
    expect(said).toEqual([
      'witness.failed: answered 503',
      'witness.failed: no answer within 1000 ms',
      'witness.answers_again: ',
    ])
    log.append('x')
    expect(await cosigner.cosign(headOf(log))).toMatchObject({ cosigned: 1, enough: true })
    expect(silent.asked).toHaveLength(2)
    // Twice as long after each failure, up to 15 s.
    for (const restMs of [1000, 2000, 4000, 8000, 15_000, 15_000]) {
      await clock.advance(restMs - 1)
      await cosigner.cosign(headOf(log))
      const [asked, before] = [silent.asked.length, answered]
      await clock.advance(1)
      const again = cosigner.cosign(headOf(log))
      // The time-out is for the silent one: the other has answered before the clock moves.
      const both = async () => (silent.asked.length === asked + 1 && answered > before ? true : undefined)
      await eventually(both, 'asked again')
      await clock.advance(1000)
      await again
    }
    expect(said).toHaveLength(3)
  })

  it('waits no longer for its own proof either', async () => {
    const witness = await cosigning(one)
    const { cosigner, clock } = cosignerOf([witness.url])
    const pending = cosigner.cosign({ ...headOf(logOf(1)), prove: () => new Promise(() => {}) })
    await clock.advance(1000)
    expect(await pending).toMatchObject({ cosigned: 0, enough: true })
  })
})

describe('a witness puts nothing into our note but its own line:', () => {
  const other = logOf(2, 'other').sign(testKey, 2)
  const elsewhere = one.cosign(other.slice(0, other.indexOf('\n\n') + 1), 1_000_000)
  it.each<[string, (line: string) => string, number]>([
    [
      'a line by a stranger besides',
      (line) => `${formatSignature({ name: 'x', id: '00000000', bytes: Buffer.alloc(72) })}${line}`,
      1,
    ],
    ['the line twice', (line) => line + line, 1],
    ['nothing', () => '', 0],
    ['a line by a stranger alone', () => formatSignature({ name: 'x', id: '00000000', bytes: Buffer.alloc(72) }), 0],
    ['the log’s own signature', () => other.slice(other.indexOf('— ')), 0],
    ['a cosignature of something else', () => formatSignature(elsewhere), 0],
    ['a right one and a wrong one', (line) => line + formatSignature(elsewhere), 0],
    ['a text in front', (line) => `hello\n\n${line}`, 0],
    ['no newline', (line) => line.trimEnd(), 0],
    ['a newline more', (line) => `${line}\n`, 0],
    ['a thousand lines', (line) => line.repeat(1000), 0],
    ['HTML', () => '<html>', 0],
  ])('%s', async (_, wrap, cosigned) => {
    const witness = await cosigning(one, wrap)
    const { cosigner } = cosignerOf([witness.url])
    const head = headOf(logOf(2))
    const result = await cosigner.cosign(head)
    expect(result.cosigned).toBe(cosigned)
    expect(result.note.length - head.note.length).toBe(cosigned * formatSignature(elsewhere).length)
    expect(cosignaturesOf(result.note, keys)).toHaveLength(cosigned)
  })

  it('nor does it make ours grow by what it sends, or cost more than 128 KiB', async () => {
    let sent = 0
    const flood = await peer((_, response) => {
      response.writeHead(200)
      const chunk = Buffer.alloc(64 * 1024, 'x')
      const push = (): void => {
        // A gigabyte, for as long as the other end takes it.
        while (sent < 1024 ** 3 && !response.destroyed) {
          sent += chunk.length
          if (!response.write(chunk)) return void response.once('drain', push)
        }
        response.end()
      }
      push()
    })
    const { cosigner, said } = cosignerOf([flood.url])
    expect(await cosigner.cosign(headOf(logOf(1)))).toMatchObject({ cosigned: 0 })
    expect(said).toEqual(['witness.failed: no answer (UND_ERR_RES_EXCEEDED_MAX_SIZE)'])
    expect(sent).toBeLessThan(64 * 1024 ** 2)
  })

  it('whatever status, type and body it answers with', async () => {
    let next: (response: ServerResponse) => void = () => {}
    const witness = await peer((_, response) => next(response))
    const head = headOf(logOf(2))
    const status = fc.oneof(
      fc.constantFrom(200, 201, 204, 302, 400, 403, 404, 409, 422, 429, 500, 503),
      fc.integer({ min: 200, max: 599 }),
    )
    const type = fc.constantFrom('', 'text/x.tlog.size', 'text/plain', 'text/x.tlog.size; charset=utf-8')
    const body = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.constantFrom('7\n', '0\n', '-1\n', '1e3\n', '99999999999999999999\n', '— a b\n'),
    )
    await fc.assert(
      fc.asyncProperty(status, type, body, async (code, contentType, text) => {
        next = (response) => void response.writeHead(code, { 'content-type': contentType }).end(text)
        const { cosigner, rolledBack } = cosignerOf([witness.url], 1)
        expect(await cosigner.cosign(head)).toEqual({ note: head.note, cosigned: 0, enough: false })
        expect(rolledBack).toEqual([])
        await cosigner.close()
      }),
      { numRuns: 200 },
    )
  })
})

describe('an answer that is of no use', () => {
  it.each<[string, () => Promise<HttpPeer>, string]>([
    ['500', () => answering(500), 'witness.failed: answered 500'],
    ['429', () => answering(429), 'witness.failed: answered 429'],
    ['400', () => answering(400), 'witness.failed: answered 400'],
    [
      'a redirect, which is not followed',
      () => answering(307, '', { location: 'http://127.0.0.1:1/' }),
      'witness.failed: answered 307',
    ],
    ['a size that is none', () => answering(409, 'many\n', sizeType), 'witness.failed: named no size'],
    ['a size with a leading zero', () => answering(409, '01\n', sizeType), 'witness.failed: named no size'],
    [
      'a size that it takes back',
      () =>
        peer(({ body }, response) => void response.writeHead(409, sizeType).end(body.startsWith('old 0') ? '1' : '0')),
      'witness.failed: named another size each time',
    ],
    [
      'a compressed answer',
      () => answering(200, gzipSync('x'), { 'content-encoding': 'gzip' }),
      'witness.failed: sent no cosignature: a signature line ends in a newline',
    ],
    [
      'a connection that it cuts',
      () => peer((_, response) => void response.destroy()),
      'witness.failed: no answer (UND_ERR_SOCKET)',
    ],
    ['422', () => answering(422), 'witness.refused: holds another history of this log'],
    ['409 without a size', () => answering(409), 'witness.refused: holds another history of this log'],
    ['403', () => answering(403), 'witness.refused: does not accept the log or the key it is signed with'],
    ['404', () => answering(404), 'witness.refused: does not accept the log or the key it is signed with'],
  ])('%s is said, and nothing more comes of it', async (_, start, event) => {
    const witness = await start()
    const { cosigner, said, rolledBack } = cosignerOf([witness.url], 1)
    const head = headOf(logOf(3))
    expect(await cosigner.cosign(head)).toEqual({ note: head.note, cosigned: 0, enough: false })
    expect(said).toEqual([event])
    expect(rolledBack).toEqual([])
  })

  it('is said once while it stays the same, but a refusal each time', async () => {
    for (const [status, times] of [
      [500, 1],
      [422, 3],
    ] as const) {
      const witness = await answering(status)
      const { cosigner, clock, said } = cosignerOf([witness.url])
      for (let n = 0; n < 3; n++) {
        await cosigner.cosign(headOf(logOf(3)))
        await clock.advance(20_000)
      }
      expect(said).toHaveLength(times)
    }
  })

  it('may come from nobody', async () => {
    const witness = await answering(200)
    await witness.close()
    const { cosigner, said } = cosignerOf([witness.url])
    expect(await cosigner.cosign(headOf(logOf(3)))).toMatchObject({ cosigned: 0 })
    expect(said).toEqual(['witness.failed: no answer (ECONNREFUSED)'])
  })
})

describe('a witness that says it has seen more than there is', () => {
  const saying = (size: number, shown?: string): Promise<HttpPeer> =>
    peer(({ method, path }, response) => {
      if (method === 'POST') return void response.writeHead(409, sizeType).end(`${size}\n`)
      expect(path).toBe(`/${monitorPath(origin)}`)
      if (shown === undefined) response.writeHead(404).end()
      else response.end(shown)
    })
  const log = logOf(3)
  const longer = logOf(9)

  it('and shows it signed by us stops everything', async () => {
    const { cosigner, said, rolledBack } = cosignerOf([(await saying(9, longer.sign(testKey))).url])
    expect(await cosigner.cosign(headOf(log))).toMatchObject({ cosigned: 0 })
    expect(rolledBack).toEqual([9])
    expect(said).toEqual([expect.stringContaining('shows a checkpoint over 9 signed by this log')])
    await expect(cosigner.askWitnesses(headOf(log))).rejects.toMatchObject({ code: 'ledger_unavailable' })
    await expect(cosigner.askWitnesses(headOf(log))).rejects.toThrow(
      'the folder was rolled back, or the key signs elsewhere',
    )
  })

  it.each([
    ['nothing', undefined],
    ['something signed by another', longer.sign(testKey).replace(/— .*\n/, '— x AAAAAAAA\n')],
    ['another log', logOf(9).sign(testKey).replace(origin, 'other.test')],
    ['no more than there is', log.sign(testKey)],
    ['garbage', '<html>'],
  ])('and shows %s stops nothing that runs, but is loud, and lets nothing start', async (_, shown) => {
    const { cosigner, said, rolledBack } = cosignerOf([(await saying(9, shown)).url])
    expect(await cosigner.cosign(headOf(log))).toMatchObject({ cosigned: 0 })
    expect(rolledBack).toEqual([])
    expect(said).toEqual([expect.stringMatching(/^witness\.refused: .*shows nothing signed by this log to prove it/)])
    await expect(cosigner.askWitnesses(headOf(log))).rejects.toThrow('do not believe that witness')
  })

  it('than the checkpoint, but not more than the log, is behind nothing: the next one finds it', async () => {
    const { cosigner, said, rolledBack } = cosignerOf([(await saying(9)).url])
    const head = headOf(longer, 3)
    expect(await cosigner.cosign(head)).toMatchObject({ cosigned: 0 })
    expect(said).toEqual(['witness.failed: has seen a newer checkpoint'])
    expect(rolledBack).toEqual([])
    expect(await cosigner.askWitnesses(head)).toEqual([{ name: 'w1', size: 9 }])
  })
})

describe('asked before anything is appended, witnesses', () => {
  it('say how much of the log they have seen', () =>
    withFolder(async (dir) => {
      const witness = await startTestWitness(dir, [testKey.vkey], { skey: witnessSkey('w1.test', 1) })
      onTestFinished(() => witness.close())
      const log = logOf(5)
      await cosignerOf([witness.url]).cosigner.cosign(headOf(log, 2))
      const away = await answering(503)
      expect(await cosignerOf([witness.url, away.url]).cosigner.askWitnesses(headOf(log))).toEqual([
        { name: 'w1', size: 2 },
        { name: 'w2', size: undefined },
      ])
    }))

  it('are waited for no longer than the time-out', async () => {
    const silent = await peer(() => {})
    const { cosigner, clock } = cosignerOf([silent.url])
    const pending = cosigner.askWitnesses(headOf(logOf(5)))
    await eventually(async () => (silent.asked.length === 1 ? true : undefined), 'asked')
    await clock.advance(1000)
    expect(await pending).toEqual([{ name: 'w1', size: undefined }])
  })

  it('that do not know the log yet begin with what they are shown', () =>
    withFolder(async (dir) => {
      const witness = await startTestWitness(dir, [testKey.vkey], { skey: witnessSkey('w1.test', 1) })
      onTestFinished(() => witness.close())
      const { cosigner } = cosignerOf([witness.url], 1)
      const log = logOf(5)
      expect(await cosigner.askWitnesses(headOf(log, 3))).toEqual([{ name: 'w1', size: 3 }])
      expect(await cosigner.cosign(headOf(log))).toMatchObject({ enough: true })
    }))

  it('have keys of their own', () => {
    const { vkey } = one
    const options = { quorum: 0, timeoutMs: 1, origin, keys: [], clock: fakeClock(), onRolledBack: () => {} }
    const log = { info: () => {}, warn: () => {}, error: () => {} }
    const create =
      (...vkeys: string[]) =>
      () =>
        createCosigner({
          ...options,
          log,
          witnesses: vkeys.map((text, at) => ({ name: `w${at}`, url: 'http://w', vkey: text })),
        })
    expect(create(testKey.vkey)).toThrow('the key is the Ed25519 key of a log')
    expect(create(vkey, parseWitnessSkey(witnessSkey('alias.test', 1)).vkey)).toThrow('have the same key')
  })
})
