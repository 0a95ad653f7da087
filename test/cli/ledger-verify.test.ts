import { mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Io } from '../../src/cli/command.ts'
import { startPeer } from '../support/http-peer.ts'
import { testKey, withFolder } from '../support/ledger.ts'
import { edit, filesIn, flipped, smallEntries, withCopy } from '../support/log-folder.ts'
import { writeRawLedger } from '../support/raw-ledger.ts'
import { type Said, writ } from '../support/terminal.ts'

const withLog = (use: (dir: string, state: string) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const dir = join(folder, 'log')
    await writeRawLedger(dir, smallEntries(600), { segments: [512] })
    await use(dir, join(folder, 'verify.state'))
  })

const verify = (args: readonly string[], io: Partial<Io> = {}): Promise<Said> =>
  writ(['ledger', 'verify', '--vkey', testKey.vkey, ...args], io)

/** A terminal on stderr; each look at the clock takes `ms`. */
const tty = (ms: number): Partial<Io> => {
  let now = 0
  return {
    isTty: { stdin: false, stdout: false, stderr: true },
    clock: {
      now: () => {
        now += ms
        return now
      },
      after: () => ({ cancel() {} }),
    },
  }
}

/** Sends a signal when the command has begun to listen for one. */
const atOnce: Partial<Io> = {
  onSignal(_, handler) {
    queueMicrotask(() => handler('SIGINT'))
    return () => {}
  },
}

describe('writ ledger verify', () => {
  it('prints the whole report as JSON, and nothing beside it', () =>
    withLog(async (dir) => {
      const { status, out, err } = await verify([dir, '--json'])
      expect({ status, err }).toEqual({ status: 0, err: '' })
      expect(JSON.parse(out)).toEqual({
        ok: true,
        origin: testKey.name,
        form: 'writ',
        entries: 600,
        skipped: 0,
        signed: { size: 600, root: expect.stringMatching(/^[0-9a-f]{64}$/) },
        vkeys: [testKey.vkey],
        unsigned: 0,
        unfinishedBytes: 0,
        problems: [],
        problemCount: 0,
      })
    }))

  it('exits 6 and names the tile that is wrong', () =>
    withLog(async (dir) => {
      await edit(join(dir, 'tile/0/001'), (bytes) => flipped(bytes, 40))
      const { status, out } = await verify([dir])
      expect(status).toBe(6)
      expect(out).toMatch(/^PROBLEM +tile: tile\/0\/001: hash 1 is not that of entry 257$/m)
      expect(out).toMatch(/^NOT verified: 1 problem$/m)
    }))

  it.each([
    ['tile/0/001', 9000, /^PROBLEM +tile: tile\/0\/001 holds more than 8192 bytes/m],
    ['tile/entries/001', 2 ** 25, /^PROBLEM +bundle: tile\/entries\/001: it holds more than 16777472 bytes/m],
  ])('exits 6 and names %s when it is larger than any may be', (path, size, problem) =>
    withLog(async (dir) => {
      await truncate(join(dir, path), size)
      const { status, out } = await verify([dir])
      expect(status).toBe(6)
      expect(out).toMatch(problem)
    }),
  )

  it('exits 1 for what cannot be read, and says which file', () =>
    withLog(async (dir) => {
      await rm(join(dir, 'tile/0/001'))
      await mkdir(join(dir, 'tile/0/001'))
      const { status, out, err } = await verify([dir])
      expect({ status, out }).toEqual({ status: 1, out: '' })
      expect(err).toContain('tile/0/001 cannot be read')
    }))

  it.each<[string, string[]]>([
    ['no log', []],
    ['two logs', ['.', '.']],
    ['a key that is none', ['.', '--vkey', 'k']],
    ['keys of two logs', ['.', '--vkey', 'log.example/tessera+c19a7f42+ASk68WHuOoAnvLsY20dLqD21Vyp6JwWxMTYnv2i8NgfK']],
    ['another form of entries', ['.', '--entries', 'all']],
    ['an option it has not', ['.', '--fast']],
    ['http to another machine', ['http://log.test/']],
    ['a URL with a password', ['https://user:secret@log.test/']],
  ])('exits 2 for %s', async (_, args) => {
    const { status, out, err } = await verify(args)
    expect({ status, out }).toEqual({ status: 2, out: '' })
    expect(err).not.toBe('')
    expect(err).not.toContain('secret')
  })

  it.each<[string, string[]]>([
    ['folder', ['/none/there']],
    ['archive', ['.', '--archive', '/none/there']],
    ['saved checkpoint', ['.', '--since', '/none/there']],
  ])('exits 1 for a %s that is not there', async (_, args) =>
    expect(await verify(args)).toMatchObject({ status: 1, out: '' }),
  )

  it('reads a URL, and exits 1 when what stands there may not be read', () =>
    withLog(async (dir) => {
      const files = new Map<string, Buffer>()
      for (const path of await filesIn(dir)) files.set(`/log/${path}`, await readFile(join(dir, path)))
      const peer = await startPeer(({ path }, response) => {
        if (path.startsWith('/secret/')) return response.writeHead(403).end()
        const bytes = files.get(path)
        return response.writeHead(bytes === undefined ? 404 : 200).end(bytes)
      })
      const folder = JSON.parse((await verify([dir, '--json'])).out)
      const { status, out } = await verify([`${peer.url}/log`, '--json'])
      const secret = await verify([`${peer.url}/secret`])
      await peer.close()
      expect(status).toBe(0)
      expect(JSON.parse(out)).toEqual(folder)
      expect(secret).toMatchObject({ status: 1, out: '' })
      expect(secret.err).toContain('answered 403')
    }))

  it('checks the log of others with --entries any, and suggests it', () =>
    withCopy(join(import.meta.dirname, '../vectors/logs/tessera'), async (dir) => {
      const args = [
        ...['ledger', 'verify', dir, '--vkey'],
        'log.example/tessera+c19a7f42+ASk68WHuOoAnvLsY20dLqD21Vyp6JwWxMTYnv2i8NgfK',
      ]
      const plain = await writ(args)
      expect(plain.status).toBe(6)
      expect(plain.out).toContain('--entries any')
      const any = await writ([...args, '--entries', 'any'])
      expect(any.status).toBe(0)
      expect(any.out).toContain('300 read and checked; their form and meaning were not looked at')
    }))
})

describe('a progress bar', () => {
  it('is drawn on a terminal, and taken away before the report', () =>
    withLog(async (dir) => {
      const { status, out, err } = await verify([dir], tty(1000))
      expect(status).toBe(0)
      expect(err).toMatch(/█+░+ +\d+ % {2}256 of 600 entries, [\d,]+\/s/)
      expect(err).toMatch(/512 of 600 entries, [\d,]+\/s, \d+ s left/)
      expect(err.endsWith('\r\u001b[2K')).toBe(true)
      expect(out).not.toContain('█')
    }))

  it('is not drawn elsewhere, nor for what is soon over', () =>
    withLog(async (dir) => {
      expect((await verify([dir], { ...tty(1000), isTty: { stdin: true, stdout: true, stderr: false } })).err).toBe('')
      expect((await verify([dir], tty(1))).err).toBe('')
    }))
})

describe('Ctrl-C', () => {
  it('ends it with status 1, and with --resume the same command continues it', () =>
    withLog(async (dir, state) => {
      let interrupt = (): void => {}
      const io = tty(1000)
      const stopped = await verify([dir, '--resume', state], {
        ...io,
        // When the first progress is shown.
        stderr: () => interrupt(),
        onSignal(_, handler) {
          interrupt = () => handler('SIGINT')
          return () => {}
        },
      })
      expect(stopped).toMatchObject({ status: 1, out: '' })
      expect((await stat(state)).mode & 0o777).toBe(0o600)
      const { status, out } = await verify([dir, '--resume', state])
      expect(status).toBe(0)
      expect(out).toMatch(/entries +600 read and checked/)
      await expect(stat(state)).rejects.toMatchObject({ code: 'ENOENT' })
    }))

  it('without --resume says how it could be continued', () =>
    withLog(async (dir) => {
      const { status, err } = await verify([dir], atOnce)
      expect(status).toBe(1)
      expect(err).toContain('interrupted before the end')
      expect(err).toContain('with --resume FILE it can be continued')
    }))

  it('a state that is not of this verification is a usage error, and is left as it is', () =>
    withLog(async (dir, state) => {
      await writeFile(state, 'my thesis')
      const { status, err } = await verify([dir, '--resume', state])
      expect(status).toBe(2)
      expect(err).toContain('it is not the state of a verification')
      expect(err).not.toContain('thesis')
      expect(await readFile(state, 'utf8')).toBe('my thesis')
    }))
})
