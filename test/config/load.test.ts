import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Config } from '../../src/config/config.ts'
import { readEnvironment } from '../../src/config/environment.ts'
import { loadConfig } from '../../src/config/load.ts'
import { listSettings, type Setting, variableOf } from '../../src/config/settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-config-'))
const elsewhere = join(folder, 'elsewhere')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const path = join(folder, 'writ.yaml')
const vault = 'vault: { address: "https://vault:8200", auth: { method: approle, roleIdFile: r, secretIdFile: s } }\n'

/** A verifier key of a witness, from the tests of transparency-dev/formats (note/note_cosigv1_test.go). */
const witness = 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2'

function load(text: string, env: Record<string, string> = {}) {
  writeFileSync(path, text)
  return loadConfig({ file: path, environment: readEnvironment(env), workingDirectory: elsewhere })
}

function loaded(text: string, env: Record<string, string> = {}): Config {
  const result = load(text, env)
  if (!result.ok) throw new Error(JSON.stringify(result.refusal))
  return result.value.config
}

/** Each problem as `line:col message`, or `VARIABLE message`. */
function problems(text: string, env: Record<string, string> = {}): string[] {
  const result = load(text, env)
  if (result.ok) return []
  for (const { fix } of result.refusal) expect(fix).not.toBe('')
  return result.refusal.map(({ where, message }) => `${where.replace(`${path}:`, '')} ${message}`)
}

describe('a configuration', () => {
  it('needs no more than Vault; the rest has defaults', () => {
    expect(loaded('', { VAULT_ADDR: 'http://127.0.0.1:8200/', VAULT_TOKEN: 't' })).toEqual({
      url: 'http://127.0.0.1:8787',
      listen: { host: '127.0.0.1', port: 8787, tls: undefined },
      policies: join(folder, 'policies'),
      vault: {
        address: 'http://127.0.0.1:8200',
        namespace: undefined,
        caFile: undefined,
        timeoutMs: 10_000,
        auth: { method: 'token', token: expect.anything() },
      },
      ledger: {
        kind: 'file',
        dir: join(folder, 'data/ledger'),
        origin: '127.0.0.1:8787/ledger',
        key: undefined,
        keyFile: join(folder, 'data/ledger.key'),
        sealKey: undefined,
        previousKeyFile: undefined,
        anchor: undefined,
        archive: undefined,
        public: false,
        witnesses: [],
        quorum: 0,
        witnessTimeoutMs: 1000,
      },
      state: { kind: 'memory' },
      limits: { concurrency: 256, requestTimeoutMs: 30_000, drainTimeoutMs: 8_000 },
      reconcile: { everyMs: 60_000, concurrency: 8, perSecond: 500 },
      policyChange: { brake: { percent: 20, least: 10 } },
      log: { level: 'info' },
    })
  })

  it('takes the shape that the contract shows', () => {
    const config = loaded(`
url: https://writ.example.com/
listen: { host: 0.0.0.0, port: 8787, tls: { cert: tls/cert.pem, key: /etc/key.pem } }
policies: ./policies
vault: { address: https://vault:8200, auth: { method: approle, roleIdFile: role, secretIdFile: secret } }
ledger: { kind: file, dir: ./data/ledger, origin: writ.example.com/ledger, keyFile: k, public: true }
state: { kind: memory }
redis: { url: redis://redis:6379 }
`)
    expect(config).toMatchObject({
      url: 'https://writ.example.com',
      listen: { host: '0.0.0.0', tls: { cert: join(folder, 'tls/cert.pem'), key: '/etc/key.pem' } },
      vault: { auth: { method: 'approle', mount: 'approle', roleIdFile: join(folder, 'role') } },
      ledger: { origin: 'writ.example.com/ledger', public: true },
    })
  })

  it('is named by what can be reached when it has no name', () => {
    expect(loaded(`${vault}listen: { host: "::", port: 1 }`).url).toBe('http://localhost:1')
    expect(loaded(`${vault}listen: { host: "::1", port: 1, tls: { cert: c, key: k } }`).url).toBe('https://[::1]:1')
  })

  it('is frozen to the bottom', () => {
    const config = loaded(vault)
    for (const part of [config, config.listen, config.vault, config.vault.auth, config.ledger, config.limits]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  it('never prints the token', () => {
    const config = loaded('', { VAULT_ADDR: 'http://v', VAULT_TOKEN: 'hvs.secret' })
    expect(JSON.stringify(config)).not.toContain('hvs.secret')
  })

  it('takes the token from the file when one is named, whatever VAULT_TOKEN says', () => {
    const text = 'vault: { address: "http://v", auth: { method: token, tokenFile: t } }'
    expect(loaded(text, { VAULT_TOKEN: 'x' }).vault.auth).toEqual({ method: 'token', tokenFile: join(folder, 't') })
    expect(loaded(vault, { VAULT_TOKEN: 'x' }).vault.auth.method).toBe('approle')
  })
})

describe('the file', () => {
  it('reports every problem at once, each where it is written and in order of the lines', () => {
    const text = `lisen: {}
listen: { port: 70000, tls: { cert: a } }
vault:
  adress: x
  address: ftp://x
  auth: { method: approle, roleId: x }
ledger: { public: "yes", origin: "a b" }
state: 5
limits: { drainTimeout: soon, concurrency: 0 }
log: { level: loud }
`
    expect(problems(text)).toEqual([
      '1:1 unknown key lisen',
      expect.stringMatching(/^2:17 listen\.port: Too big/),
      '2:24 listen.tls.key is missing',
      '4:3 unknown key vault.adress',
      expect.stringMatching(/^5:12 vault\.address: an http:/),
      '6:3 vault.auth.roleIdFile is missing',
      '6:3 vault.auth.secretIdFile is missing',
      '6:28 unknown key vault.auth.roleId',
      expect.stringMatching(/^7:19 ledger\.public: expected boolean/),
      expect.stringMatching(/^7:34 ledger\.origin: a name without spaces/),
      expect.stringMatching(/^8:8 state: expected object/),
      expect.stringMatching(/^9:25 limits\.drainTimeout: a duration/),
      expect.stringMatching(/^9:44 limits\.concurrency: Too small/),
      expect.stringMatching(/^10:15 log\.level: expected one of/),
    ])
  })

  it('suggests the key that was meant', () => {
    const result = load(`${vault}lisen: {}\n`)
    expect(result).toMatchObject({ ok: false, refusal: [{ fix: 'did you mean listen?' }] })
  })

  it.each([
    ['a duplicate key', `${vault}url: a\nurl: b\n`, /^3:1 Map keys must be unique/],
    ['a tab as indentation', 'vault:\n\taddress: x\n', /^2:1 Tabs are not allowed/],
    ['two documents', `${vault}---\n${vault}`, /multiple documents/],
    ['a list', '- vault\n', /^1:1 the file is not a mapping/],
    ['plain text', 'hello\n', /^1:1 the file is not a mapping/],
    ['a tag', `${vault}url: !!js/function "x"\n`, /^2:6 Unresolved tag/],
    ['an alias', 'url: &u https://a\npolicies: *u\n', /^2:11 aliases are not allowed/],
    ['a prototype', `${vault}__proto__: { polluted: true }\n`, /^2:1 unknown key __proto__/],
    ['an unclosed bracket', 'listen: { port: 1\n', /^\d+:\d+ /],
  ])('refuses %s', (_, text, said) => {
    expect(problems(text)[0]).toMatch(said)
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })

  it('refuses a bomb of aliases without expanding it', () => {
    const levels = Array.from({ length: 30 }, (_, at) => {
      const before = at === 0 ? '"x"' : `*a${at - 1}`
      return `a${at}: &a${at} [${Array.from({ length: 10 }, () => before).join(', ')}]`
    })
    const found = problems(levels.join('\n'))
    expect(found).toHaveLength(290)
    expect(found.every((problem) => problem.endsWith('aliases are not allowed'))).toBe(true)
  })

  it('refuses more than 1 MiB unread', () => {
    const result = load(`# ${'x'.repeat(1024 * 1024)}\n${vault}`)
    expect(result).toMatchObject({ ok: false, refusal: [{ message: 'is larger than 1 MiB' }] })
  })

  it.each([
    ['absent', join(folder, 'absent.yaml'), 'there is no such file'],
    ['a folder', folder, 'it is a folder'],
  ])('that is %s is a problem of its own', (_, file, message) => {
    const result = loadConfig({ file, environment: readEnvironment({}) })
    expect(result).toMatchObject({ ok: false, refusal: [{ where: file, message }] })
  })

  it('may be absent when nobody named it', () => {
    const environment = readEnvironment({ VAULT_ADDR: 'http://v', VAULT_TOKEN: 't' })
    expect(loadConfig({ environment, workingDirectory: elsewhere }).ok).toBe(true)
  })

  it.each([
    ['ledger: { kind: redis }', '2:17 ledger.kind: kind redis is not in this version yet'],
    ['state: { kind: redis }', '2:16 state.kind: kind redis is not in this version yet'],
  ])('is told what is not there yet: %s', (text, said) => {
    expect(problems(`${vault}${text}`)).toEqual([said])
  })

  it.each(['kubernetes', 'jwt'])('is told that the login method %s is not there yet', (method) => {
    const text = `vault: { address: "http://v", auth: { method: ${method}, role: writ } }`
    expect(problems(text)).toEqual(['1:47 vault.auth.method: this login method is not in this version yet'])
  })

  it.each(['http://user:pw@v', 'http://v?x=1', 'http://v#x', 'v:8200', 'file:///v'])(
    'takes no address like %s',
    (address) => {
      const found = problems(`vault: { address: "${address}", auth: { method: token } }`, { VAULT_TOKEN: 't' })
      expect(found).toHaveLength(1)
      expect(found[0]).not.toContain('pw')
    },
  )
})

describe('witnesses', () => {
  const witnesses = (...lines: string[]): string =>
    `${vault}ledger:\n  witnesses:\n${lines.map((line) => `    - ${line}\n`).join('')}`

  it('are named by URL and verifier key, which may stand in a file of its own', () => {
    writeFileSync(join(folder, 'w.vkey'), `${witness}\n`)
    const { ledger } = loaded(
      `${witnesses(`{ name: first, url: https://w.example/, vkey: ${witness} }`, '{ url: https://v, vkeyFile: w.vkey }')}  quorum: 2\n`,
    )
    expect(ledger).toMatchObject({ quorum: 2, witnessTimeoutMs: 1000 })
    expect(ledger.witnesses).toEqual([
      { name: 'first', url: 'https://w.example', vkey: witness },
      { name: 'remora.n621.de', url: 'https://v', vkey: witness },
    ])
  })

  const aLogsKey = 'writ.test/ledger+c8f38602+AUdEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
  it.each([
    [[`{ url: https://w, vkey: ${aLogsKey} }`], '4:31 ledger.witnesses.0.vkey: the verifier key of a witness'],
    [
      [`{ url: https://w, vkey: ${witness} }`, '{ url: https://w }'],
      '5:7 ledger.witnesses.1: one of vkey and vkeyFile',
    ],
    [[`{ url: https://w, vkey: ${witness}, vkeyFile: x }`], '4:7 ledger.witnesses.0: one of vkey and vkeyFile'],
    [[`{ url: https://w, vkeyFile: absent }`], '4:7 ledger.witnesses.0.vkeyFile: it holds no verifier key'],
    [[`{ url: ftp://w, vkey: ${witness} }`], '4:14 ledger.witnesses.0.url: an http'],
    [[`{ url: https://w, vkey: ${witness}, vkei: x }`], 'unknown key ledger.witnesses.0.vkei'],
  ])('%j is refused where it stands', (lines, problem) => {
    expect(problems(witnesses(...lines))).toEqual([expect.stringContaining(problem)])
  })

  it('must be as many as the quorum', () => {
    expect(problems(`${vault}ledger: { quorum: 1 }`)).toEqual([
      '2:19 ledger.quorum: greater than the number of witnesses',
    ])
    expect(problems(vault, { WRIT_LEDGER_WITNESSES: '{}' })).toEqual([
      'WRIT_LEDGER_WITNESSES ledger.witnesses: not a list in JSON',
    ])
  })
})

describe('variables', () => {
  /** A text that is valid for the setting and is not its default, and what becomes of it. */
  function example(setting: Setting): { text: string; value: unknown } {
    const known: Record<string, { text: string; value: unknown }> = {
      url: { text: 'https://other.example.com', value: 'https://other.example.com' },
      'vault.address': { text: 'https://other:8200', value: 'https://other:8200' },
      'vault.auth.method': { text: 'approle', value: 'approle' },
      'ledger.kind': { text: 'file', value: 'file' },
      'state.kind': { text: 'memory', value: 'memory' },
      'log.level': { text: 'error', value: 'error' },
      'ledger.witnesses': {
        text: JSON.stringify([{ name: 'w', url: 'https://w/', vkey: witness }]),
        value: [{ name: 'w', url: 'https://w', vkey: witness }],
      },
      'ledger.quorum': { text: '1', value: 1 },
      'policyChange.brake.percent': { text: '35', value: 35 },
      'reconcile.concurrency': { text: '3', value: 3 },
    }
    const name = setting.path.join('.')
    if (known[name] !== undefined) return known[name]
    if (/timeout|every/i.test(name)) return { text: '7s', value: 7_000 }
    if (setting.type === 'integer') return { text: '4711', value: 4711 }
    if (setting.type === 'boolean') return { text: 'true', value: true }
    if (setting.type === 'path') return { text: 'some/file', value: join(elsewhere, 'some/file') }
    return { text: 'other', value: 'other' }
  }

  /** Where a key of the file ends up in the `Config`. */
  const target = (setting: Setting): string[] => {
    const path = [...setting.path]
    const last = path.pop() ?? ''
    return [...path, /imeout$|^every$/.test(last) ? `${last}Ms` : last]
  }

  const settings = listSettings().filter(({ variable }) => variable !== 'WRIT_REDIS_URL')

  it.each(settings.map((setting) => [setting.variable, setting] as const))(
    '%s overrides its key alone',
    (_, setting) => {
      const { text, value } = example(setting)
      const tokenLogin = setting.variable === 'WRIT_VAULT_AUTH_TOKEN_FILE'
      const file = tokenLogin
        ? 'vault: { address: "https://vault:8200", auth: { method: token, tokenFile: a } }\n'
        : setting.path.includes('tls')
          ? `${vault}listen: { tls: { cert: c, key: k } }\n`
          : setting.path.includes('quorum')
            ? `${vault}ledger: { witnesses: [{ url: https://w, vkey: ${witness} }] }\n`
            : vault
      const before = loaded(file)
      const after = loaded(file, { [setting.variable]: text })
      const path = target(setting)
      const at = (config: unknown): unknown =>
        path.reduce((part, key) => (part as Record<string, unknown>)[key], config)
      expect(at(after)).toEqual(value)
      // Nothing else moved, but for what follows from the name of the broker.
      const rest = (config: Config): Config => {
        const copy = JSON.parse(JSON.stringify(config))
        path.slice(0, -1).reduce((part, key) => part[key], copy)[path.at(-1) ?? ''] = '-'
        if (path[0] === 'url' || path[0] === 'listen')
          Object.assign(copy, { url: '-', ledger: { ...copy.ledger, origin: '-' } })
        return copy
      }
      expect(rest(after)).toEqual(rest(before))
    },
  )

  it('covers every key of the schema under one name each', () => {
    const names = listSettings().map(({ variable }) => variable)
    expect(new Set(names).size).toBe(names.length)
    expect(names.length).toBeGreaterThan(20)
    expect(variableOf(['vault', 'auth', 'roleIdFile'])).toBe('WRIT_VAULT_AUTH_ROLE_ID_FILE')
  })

  it.each([
    ['WRIT_VAULT_ADDRESS', 'VAULT_ADDR', 'address', 'https://a', 'https://b'],
    ['WRIT_VAULT_NAMESPACE', 'VAULT_NAMESPACE', 'namespace', 'a', 'b'],
    ['WRIT_VAULT_CA_FILE', 'VAULT_CACERT', 'caFile', '/a', '/b'],
  ] as const)('%s wins over %s, and both over the file', (own, usual, key, first, second) => {
    expect(loaded(vault, { [usual]: second }).vault[key]).toBe(second)
    expect(loaded(vault, { [usual]: second, [own]: first }).vault[key]).toBe(first)
  })

  it('are blamed by their own name', () => {
    const env = {
      WRIT_LISTEN_PORT: '-1',
      WRIT_LEDGER_PUBLIC: 'yes',
      WRIT_LIMITS_CONCURRENCY: '0',
      WRIT_LOG_LEVEL: 'loud',
      VAULT_ADDR: 'vault',
    }
    expect(problems(vault, env)).toEqual([
      'WRIT_LISTEN_PORT listen.port: not a whole number',
      'WRIT_LEDGER_PUBLIC ledger.public: not true or false',
      expect.stringMatching(/^VAULT_ADDR vault\.address: /),
      expect.stringMatching(/^WRIT_LIMITS_CONCURRENCY limits\.concurrency: /),
      expect.stringMatching(/^WRIT_LOG_LEVEL log\.level: /),
    ])
  })

  it('count as absent when they are empty', () => {
    expect(loaded(vault, { WRIT_LISTEN_PORT: '', VAULT_ADDR: '' }).listen.port).toBe(8787)
  })

  it('that look like a slip are warned about, and those of a platform are left alone', () => {
    const env = {
      WRIT_LISTEN_PROT: '1',
      WRIT_SERVICE_HOST: '10.0.0.1',
      WRIT_PORT_8787_TCP_ADDR: '10.0.0.1',
      WRIT_TOKEN: 't',
    }
    const result = load(vault, env)
    expect(result.ok && result.value.warnings).toEqual([
      'WRIT_LISTEN_PROT is not a setting; did you mean WRIT_LISTEN_PORT?',
    ])
  })
})
