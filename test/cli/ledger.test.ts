import { once } from 'node:events'
import { copyFile, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Code } from '../../src/base/codes.ts'
import type { Io } from '../../src/cli/command.ts'
import { main } from '../../src/cli/main.ts'
import { readEnvironment } from '../../src/config/environment.ts'
import { eventually } from '../support/child.ts'
import { grantOf, intentEntry, issuedEntry, loadedEntry, numberedEntry } from '../support/entries.ts'
import { openTestLedger, segmentFile, testKey, withFolder } from '../support/ledger.ts'
import { type Answer, ok, refusal } from './scripted-broker.ts'

interface Terminal {
  readonly io: Io
  readonly out: () => string
  readonly err: () => string
  readonly signal: () => void
}

function terminal(env: Record<string, string> = {}): Terminal {
  let [out, err] = ['', '']
  let onSignal = (): void => {}
  return {
    out: () => out,
    err: () => err,
    signal: () => onSignal(),
    io: {
      stdout: (text) => {
        out += text
      },
      stderr: (text) => {
        err += text
      },
      readStdin: () => Promise.resolve(''),
      ask: () => Promise.resolve(undefined),
      isTty: { stdin: false, stdout: false, stderr: false },
      environment: readEnvironment(env),
      clock: systemClock,
      onSignal(_, handler) {
        onSignal = () => handler('SIGINT')
        return () => {}
      },
    },
  }
}

async function writ(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const { io, out, err } = terminal()
  const status = await main(args, io)
  return { status, out: out(), err: err() }
}

const withLedger = (use: (dir: string) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const dir = join(folder, 'ledger')
    const ledger = await openTestLedger(dir)
    for (const body of [loadedEntry, intentEntry(1), issuedEntry(1), numberedEntry(3)]) await ledger.append(body)
    await ledger.close()
    await use(dir)
  })

const flip = async (file: string, offset: number): Promise<void> => {
  const bytes = await readFile(file)
  bytes[offset] = (bytes[offset] ?? 0) ^ 1
  await writeFile(file, bytes)
}

describe('writ ledger verify', () => {
  it('exits 0 for a whole ledger and says what was verified', () =>
    withLedger(async (dir) => {
      const { status, out } = await writ('ledger', 'verify', dir, '--vkey', testKey.vkey)
      expect(status).toBe(0)
      expect(out).toMatch(/entries +4 read and checked/)
      expect(out).toMatch(/checkpoint +over 4 entries, root [0-9a-f]{64}/)
      expect(out.trimEnd().endsWith('\nverified')).toBe(true)
    }))

  it('exits 6 for an altered one, and names entry, file and offset', () =>
    withLedger(async (dir) => {
      await flip(segmentFile(dir), 800)
      const { status, out } = await writ('ledger', 'verify', dir, '--vkey', testKey.vkey)
      expect(status).toBe(6)
      expect(out).toMatch(/PROBLEM +segment: entry 1 is damaged.*\(segments\/0{20}\.log, offset \d+\)/)
      const json = await writ('ledger', 'verify', dir, '--vkey', testKey.vkey, '--json')
      expect(json.status).toBe(6)
      expect(JSON.parse(json.out)).toMatchObject({
        ok: false,
        problems: [{ rule: 'segment', index: 1, path: `segments/${'0'.repeat(20)}.log` }],
      })
    }))

  it('exits 6 when the record no longer extends a saved checkpoint', () =>
    withLedger(async (dir) =>
      withLedger(async (other) => {
        const saved = join(dir, 'saved.txt')
        await copyFile(join(dir, 'checkpoint'), saved)
        expect((await writ('ledger', 'verify', dir, '--vkey', testKey.vkey, '--since', saved)).status).toBe(0)
        const ledger = await openTestLedger(dir)
        await ledger.append(numberedEntry(4))
        await ledger.close()
        await copyFile(join(dir, 'checkpoint'), saved)
        expect((await writ('ledger', 'verify', other, '--vkey', testKey.vkey, '--since', saved)).status).toBe(6)
      }),
    ))

  it.each([
    ['no key', [], 2],
    ['a key that is none', ['--vkey', 'k'], 2],
    ['a saved checkpoint that is not there', ['--vkey', testKey.vkey, '--since', '/none/there'], 1],
  ])('with %s exits %s', (_, args, status) =>
    withLedger(async (dir) => {
      const result = await writ('ledger', 'verify', dir, ...args)
      expect(result).toMatchObject({ status, out: '' })
      expect(result.err).not.toBe('')
    }),
  )

  it('exits 1 for a folder that is not there, 6 for a folder without a ledger', () =>
    withFolder(async (dir) => {
      expect((await writ('ledger', 'verify', join(dir, 'none'), '--vkey', testKey.vkey)).status).toBe(1)
      expect((await writ('ledger', 'verify', dir, '--vkey', testKey.vkey)).status).toBe(6)
    }))
})

describe('writ ledger tail', () => {
  it('shows the newest entries, filtered, as lines or as JSON lines', () =>
    withLedger(async (dir) => {
      const { status, out } = await writ('ledger', 'tail', dir, '-n', '2')
      expect(status).toBe(0)
      expect(out.trimEnd().split('\n')).toEqual([
        expect.stringMatching(/^ +2 {2}\S+Z {2}grant\.issued +broker issue .*grant=gr_0+1$/),
        expect.stringMatching(/^ +3 {2}\S+Z {2}config\.changed +broker test +setting=n3$/),
      ])
      const json = await writ('ledger', 'tail', dir, '--grant', grantOf(1), '--json')
      const kinds = json.out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).entry.kind)
      expect(kinds).toEqual(['grant.intent', 'grant.issued'])
    }))

  it('makes text of others harmless', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir)
      await ledger.append({ ...numberedEntry(1), workload: '\u001b[2Jx\u202ey\nz' })
      await ledger.close()
      const { out } = await writ('ledger', 'tail', dir)
      expect(out).toContain('\\u{1b}[2Jx\\u{202e}y\\u{a}z')
    }))

  it('follows a ledger that is being written, over new segments, until a signal', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir, { segmentBytes: 500 })
      await ledger.append(numberedEntry(0))
      const { io, out, signal } = terminal()
      const tailing = main(['ledger', 'tail', dir, '-f', '--json'], io)
      const indexes = (): number[] =>
        out()
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line).index)
      await eventually(async () => indexes().length === 1 || undefined, 'the first entry')
      for (let n = 1; n < 8; n++) await ledger.append(numberedEntry(n))
      await eventually(async () => indexes().length === 8 || undefined, 'the entries that came later')
      signal()
      expect(await tailing).toBe(0)
      expect(indexes()).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
      await ledger.close()
    }))
})

describe('writ ledger tail through a broker', () => {
  const entry = (index: number, kind = 'task.opened') => ({ index, leaf_hash: 'ab', entry: { kind } })
  const shown = (out: string): number[] =>
    out
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line).index)
  const problem = (code: Code, ...reasons: string[]): Answer => refusal(code, { reasons })

  /** Answers as scripted; a stream is a function that writes to the response. */
  type Script = (path: string, lastEventId: string | undefined) => Answer | ((response: ServerResponse) => void)
  async function withBroker(
    script: Script,
    use: (broker: {
      asked: string[]
      tail: (...args: string[]) => Terminal & { status: Promise<number> }
    }) => Promise<void>,
  ) {
    const asked: string[] = []
    const server = createServer((request, response) => {
      const { 'last-event-id': id } = request.headers
      const lastEventId = typeof id === 'string' ? id : undefined
      const path = decodeURIComponent(request.url?.replace('/v1/ledger/', '') ?? '')
      asked.push(lastEventId === undefined ? path : `${path} from ${lastEventId}`)
      const answer = script(path, lastEventId)
      if (typeof answer === 'function') return answer(response.writeHead(200, { 'content-type': 'text/event-stream' }))
      const type = answer.status === 200 ? 'application/json' : 'application/problem+json'
      response.writeHead(answer.status, { 'content-type': type }).end(JSON.stringify(answer.body))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const port = (server.address() as AddressInfo).port
    const tail = (...args: string[]) => {
      const made = terminal({ WRIT_URL: `http://127.0.0.1:${port}`, WRIT_TOKEN: 'tok' })
      return { ...made, status: main(['ledger', 'tail', '--json', ...args], made.io) }
    }
    try {
      await use({ asked, tail })
    } finally {
      server.closeAllConnections()
      server.close()
    }
  }
  const page = (entries: ReturnType<typeof entry>[], next: number | null = null) => ok({ entries, next })
  const event = (index: number) => `id: ${index}\nevent: entry\ndata: ${JSON.stringify(entry(index))}\n\n`

  it('shows the newest that match, asking for no more than it shows', () =>
    withBroker(
      (path) => {
        if (path === 'entries?order=desc&limit=1') return page([entry(90)], 90)
        // The first page has looked at entries and found too few that match.
        if (path.includes('before=91')) return page([entry(70)], 60)
        return page([entry(9), entry(8)], null)
      },
      async ({ asked, tail }) => {
        const { status, out } = tail('-n', '3', '--kind', 'task.opened')
        expect(await status).toBe(0)
        expect(shown(out())).toEqual([8, 9, 70])
        expect(asked).toEqual([
          'entries?order=desc&limit=1',
          'entries?kind=task.opened&order=desc&before=91&limit=3',
          'entries?kind=task.opened&order=desc&before=60&limit=2',
        ])
      },
    ))

  it('shows nothing of an empty record, and with -n 0 asks for the place to go on from alone', () =>
    withBroker(
      () => page([]),
      async ({ asked, tail }) => {
        expect(await tail().status).toBe(0)
        expect(asked).toEqual(['entries?order=desc&limit=1'])
      },
    ))

  it('follows by events, in whatever pieces they come, and goes on after a lost connection where it was', () =>
    withBroker(
      (path, lastEventId) => {
        if (path.startsWith('entries')) return page([entry(4)])
        return (response) => {
          if (lastEventId === '4') {
            response.write(`retry: 2000\n\n${event(5)}${event(6).slice(0, 20)}`)
            setImmediate(() =>
              response.write(`${event(6).slice(20)}:\n\nevent: other\ndata: {}\n\n`, () => response.destroy()),
            )
          } else response.write(event(Number(lastEventId) + 1).replaceAll('\n', '\r\n'))
        }
      },
      async ({ asked, tail }) => {
        const { status, out, signal } = tail('-f', '-n', '1', '--workload', 'checkout')
        await eventually(async () => shown(out()).length === 4 || undefined, 'four entries')
        signal()
        expect(await status).toBe(0)
        expect(shown(out())).toEqual([4, 5, 6, 7])
        expect(asked.slice(2)).toEqual(['events?workload=checkout from 4', 'events?workload=checkout from 6'])
      },
    ))

  it('waits for a broker that is full, and ends when the token is not accepted', () =>
    withBroker(
      (path) => {
        if (path.startsWith('entries')) return page([])
        return ++tries === 1 ? problem('draining', 'too many requests at once') : problem('token_expired')
      },
      async ({ asked, tail }) => {
        const { status, err } = tail('-f')
        expect(await status).toBe(4)
        expect(err()).toContain('token_expired')
        expect(asked.slice(1)).toEqual(['events?', 'events?'])
      },
    ))
  let tries = 0

  it('refuses what is no event of a ledger', () =>
    withBroker(
      (path) =>
        path.startsWith('entries') ? page([]) : (response) => response.write('event: entry\ndata: {"index":"x"}\n\n'),
      async ({ tail }) => {
        const { status, err } = tail('-f')
        expect(await status).toBe(1)
        expect(err()).toContain('not what this version of writ reads')
      },
    ))

  it('reads an older broker from the start and asks it again and again', () =>
    withBroker(
      (path) => {
        if (path.includes('order=')) return problem('request_invalid', 'query: unknown field "order"')
        const after = new URLSearchParams(path.split('?')[1]).get('after')
        if (after === null) return page([], 5)
        return after === '5' ? page([entry(7)]) : page(after === '7' && ++polls > 1 ? [entry(8)] : [])
      },
      async ({ asked, tail }) => {
        const { status, out, signal } = tail('-f', '--kind', 'task.opened')
        await eventually(async () => shown(out()).length === 2 || undefined, 'two entries')
        signal()
        expect(await status).toBe(0)
        expect(asked.slice(0, 5)).toEqual([
          'entries?order=desc&limit=1',
          'entries?kind=task.opened&limit=1000',
          'entries?kind=task.opened&limit=1000&after=5',
          'entries?kind=task.opened&limit=1000&after=7',
          'entries?kind=task.opened&limit=1000&after=7',
        ])
      },
    ))
  let polls = 0

  it('asks a broker that has no events again and again, from where it is', () =>
    withBroker(
      (path) => {
        if (path.startsWith('events')) return problem('not_found')
        return path.includes('order=') ? page([entry(3)]) : page(path.includes('after=3') ? [entry(4)] : [])
      },
      async ({ tail }) => {
        const { status, out, signal } = tail('-f', '-n', '1')
        await eventually(async () => shown(out()).length === 2 || undefined, 'two entries')
        signal()
        expect(await status).toBe(0)
        expect(shown(out())).toEqual([3, 4])
      },
    ))
})

describe('writ ledger keygen', () => {
  it('makes a key of mode 0600 once, and prints the same verifier key ever after', () =>
    withFolder(async (dir) => {
      const out = join(dir, 'ledger.key')
      const made = await writ('ledger', 'keygen', '--origin', 'writ.test/l', '--out', out, '--json')
      expect(JSON.parse(made.out)).toMatchObject({ origin: 'writ.test/l', created: true })
      expect((await stat(out)).mode & 0o777).toBe(0o600)
      const again = await writ('ledger', 'keygen', '--origin', 'writ.test/l', '--out', out)
      expect(again.out.trim()).toBe(JSON.parse(made.out).vkey)
      expect(made.out + made.err + again.out + again.err).not.toContain((await readFile(out, 'utf8')).trim())
      const other = await writ('ledger', 'keygen', '--origin', 'other.test/l', '--out', out)
      expect(other).toMatchObject({ status: 1, out: '' })
      expect((await writ('ledger', 'keygen', '--origin', 'a b', '--out', out)).status).toBe(2)
      expect((await writ('ledger', 'keygen', '--origin', 'a')).status).toBe(2)
    }))

  it('without a verb says which there are', async () => {
    const { status, err } = await writ('ledger')
    expect(status).toBe(2)
    expect(err).toContain('verify, prove, check-receipt, tail, export, redact, archive, keygen')
  })
})
