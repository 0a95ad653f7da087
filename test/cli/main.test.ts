import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type Code, codes } from '../../src/base/codes.ts'
import { exitStatusOf, UsageError } from '../../src/cli/command.ts'
import { parseOptions } from '../../src/cli/options.ts'
import { printable, table } from '../../src/cli/terminal.ts'
import { runWrit } from '../support/serve.ts'

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const commands = (await runWrit(['--help'])).stdout.match(/^ {2}([a-z]+) {2}/gm)?.map((line) => line.trim()) ?? []

describe('writ', () => {
  it('lists its commands', async () => {
    expect(commands).toEqual(
      expect.arrayContaining(['serve', 'dev', 'demo', 'get', 'exec', 'policy', 'ledger', 'doctor']),
    )
    expect(await runWrit(['--help'])).toMatchObject({ code: 0, stderr: '' })
    expect(await runWrit([])).toMatchObject({ code: 2, stdout: '' })
  })

  it('knows its version', async () => {
    expect(await runWrit(['--version'])).toMatchObject({ code: 0, stdout: `writ ${manifest.version}\n` })
  })

  it.each(commands)('%s --help explains itself on stdout', async (name) => {
    const exit = await runWrit([name, '--help'])
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    expect(exit.stdout).toMatch(new RegExp(`^usage: writ ${name}`))
    expect(await runWrit(['help', name])).toMatchObject({ code: 0, stdout: exit.stdout })
  })

  it.each([
    [['gett'], 'did you mean get?'],
    [['--verison'], 'there is no command'],
    [['get', '--porpose', 'x'], 'did you mean --purpose?'],
    [['get', '--purpose'], '--purpose needs a value'],
    [['get', '--purpose', '--format'], '--purpose=…'],
    [['get', '--purpose', 'a', '--purpose', 'b'], 'given twice'],
    [['get', '--purpose', 'a', '--json=1'], 'takes no value'],
    [['get', '--purpose', 'a', 'b'], 'unexpected argument "b"'],
    [['get', '--purpose', 'a'], 'WRIT_URL'],
    [['get', '--purpose', 'a', '--url', 'ftp://x'], 'not an http'],
    [['task', 'end'], 'TASK is missing'],
  ])('%j exits 2 and says what is wrong', async (args, said) => {
    const exit = await runWrit(args)
    expect(exit).toMatchObject({ code: 2, stdout: '' })
    expect(exit.stderr).toContain(said)
    expect(exit.stderr).toContain('--help')
  })

  it('escapes what was typed', async () => {
    expect((await runWrit(['\u001b[31mx'])).stderr).toContain('\\u{1b}[31mx')
  })
})

describe('exit statuses', () => {
  it('follow from the code alone, for every code', () => {
    const byStatus = { 400: 2, 401: 4, 403: 3, 404: 1, 405: 1, 409: 1, 413: 2, 415: 2, 429: 5, 500: 1, 502: 1, 503: 5 }
    for (const code of Object.keys(codes) as Code[]) expect(exitStatusOf(code), code).toBe(byStatus[codes[code].status])
  })
})

describe('options', () => {
  const options = {
    name: { type: 'string' },
    flag: { type: 'boolean' },
    many: { type: 'string', multiple: true },
  } as const

  it('are read in any order, with and without an equals sign', () => {
    const { values, positionals } = parseOptions(
      ['a', '--many=1', '--flag', '--many', '2', '--name=-x', 'b'],
      options,
      ['A', '[B]'],
    )
    expect({ ...values }).toEqual({ flag: true, many: ['1', '2'], name: '-x' })
    expect(positionals).toEqual(['a', 'b'])
  })

  it.each([[['--__proto__', 'x']], [['--constructor', 'x']], [['--name', '']], [['-n']], [['a', 'b', 'c']], [[]]])(
    '%j is refused',
    (args) => {
      expect(() => parseOptions(args, options, ['A', '[B]'])).toThrow(UsageError)
    },
  )
})

describe('text from elsewhere', () => {
  it('loses every character that moves, hides or reorders, and keeps the rest', () => {
    expect(printable('naïve – ✓ 日本 👍🏽')).toBe('naïve – ✓ 日本 👍🏽')
    expect(printable('a\nb\tc')).toBe('a\\u{a}b\\u{9}c')
    expect(printable('a\nb\tc', true)).toBe('a\nb\tc')
    expect(printable('\u202eevil\u2066\u200d\ufeff\ud800')).toBe('\\u{202e}evil\\u{2066}\\u{200d}\\u{feff}\\u{d800}')
  })

  it('cannot break a table', () => {
    expect(table(['A', 'B'], [['1\n2', 'x']])).toBe('A        B\n1\\u{a}2  x\n')
  })
})
