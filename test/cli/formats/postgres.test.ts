import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startPostgres, type TestPostgres } from '../../support/postgres.ts'
import { onPath, type Ran, runProgram } from '../../support/program.ts'
import { getAs, write } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-pg-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const special = fc.string({
  unit: fc.oneof(
    fc.constantFrom(':', '\\', '#', '*', '=', '[', ']', ' ', '\t', '"', "'"),
    fc.string({ minLength: 1, maxLength: 1 }),
  ),
  minLength: 1,
  maxLength: 40,
})
const line = special.filter((text) => !/[\r\n\0]/.test(text))

// The rules of libpq's passwordFromFile, written down a second time.
function readPgpass(file: string, place: readonly string[]): string | undefined {
  for (const text of file.split('\n')) {
    if (text.startsWith('#')) continue
    const fields: string[] = []
    let field = ''
    for (let at = 0; at < text.length; at++) {
      if (text[at] === ':') {
        fields.push(field)
        field = ''
      } else {
        // What was escaped can stand for nothing but itself.
        if (text[at] === '*' && field === '' && text[at + 1] === ':') field = 'any'
        else if (text[at] === '\\' && at + 1 < text.length) field += text[++at]
        else field += text[at]
      }
    }
    const matches = place.every((wanted, at) => fields[at] === wanted || fields[at] === 'any')
    if (fields.length === 4 && matches) return field
  }
  return undefined
}

describe('pgpass', () => {
  it('says the password to that user at that place, whatever they hold, and to nobody else', () => {
    fc.assert(
      fc.property(line, line, line, (username, password, database) => {
        fc.pre(!/^\s|\s$|^\*$|\p{Cc}/u.test(database) && ![username, database].includes('any'))
        const file = write('pgpass', { username, password }, { host: 'db', port: '5433', database })
        expect(readPgpass(file, ['db', '5433', database, username])).toBe(password)
        expect(readPgpass(file, ['db', '5433', database, `${username}x`])).toBeUndefined()
        expect(file.match(/\n/g)).toHaveLength(1)
      }),
    )
  })

  it.each(['a\nb', 'a\rb', 'a\r', '\0', ''])('hands back what it cannot write: %j', async (password) => {
    const got = await getAs({ username: 'u', password }, ['--format', 'pgpass'])
    expect(got).toMatchObject({ status: 1, out: '', handedBack: 1 })
    expect(got.err).toContain('"password"')
  })
})

describe('pg-service', () => {
  it('has one line for each setting, and refuses what would be read as something else', () => {
    fc.assert(
      fc.property(line, line, (username, password) => {
        const blank = [username, password].some((text) => /[ \t\v\f]$/.test(text))
        const render = () => write('pg-service', { username, password }, { host: 'db' })
        if (blank) return void expect(render).toThrow(/ends with a blank/)
        expect(render()).toBe(`[orders-ro]\nhost=db\nuser=${username}\npassword=${password}\n`)
      }),
    )
  })

  it.each(['a\nhost=evil', 'a\r\nhost=evil', '\0', ''])('hands back what it cannot write: %j', async (password) => {
    const got = await getAs({ username: 'u', password }, ['--format', 'pg-service'])
    expect(got).toMatchObject({ status: 1, out: '', handedBack: 1 })
  })
})

describe.skipIf(!onPath('psql'))('needs psql on PATH: the files of PostgreSQL', () => {
  let postgres: TestPostgres
  let at: string[]
  let port: string
  beforeAll(async () => {
    postgres = await startPostgres()
    port = new URL(postgres.url).port
    at = ['--host', '127.0.0.1', '--port', port, '--database', 'orders']
  })
  afterAll(() => postgres?.stop())

  async function addUser(username: string, password: string): Promise<void> {
    const admin = new pg.Client({ connectionString: postgres.adminUrl })
    await admin.connect()
    await admin.query(`CREATE USER ${pg.escapeIdentifier(username)} PASSWORD ${pg.escapeLiteral(password)}`)
    await admin.end()
  }
  const ask = (env: Record<string, string>): Promise<Ran> =>
    runProgram('psql', ['-w', '-X', '-A', '-t', '-c', 'SELECT current_user'], { env })

  it.each([
    ['plain', 'v-token-1'],
    ['of:colons\\and"quotes\'', ':\\#*\\:: end'],
    ['*', '\\'],
    ['#x', ' blank at both ends '],
    ['üser', 'pässwörd=[x]'],
  ])('lets %s in by PGPASSFILE', async (username, password) => {
    await addUser(username, password)
    const file = join(folder, 'pgpass')
    const got = await getAs({ username, password }, ['--format', 'pgpass', ...at, '--out', file])
    expect(got).toMatchObject({ status: 0, out: '' })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const env = { PGHOST: '127.0.0.1', PGPORT: port, PGDATABASE: 'orders', PGUSER: username, PGPASSFILE: file }
    expect(await ask(env)).toEqual({ code: 0, stdout: `${username}\n`, stderr: '' })
    expect((await ask({ ...env, PGDATABASE: 'postgres' })).stderr).toContain('no password supplied')
  })

  it.each([
    ['plain2', 'v-token-1'],
    ['#=[user]', ' begins with a blank, "quotes\' \\ # ; [x]=y'],
    ['longest', 'x'.repeat(1_012)],
  ])('lets %s in by PGSERVICEFILE', async (username, password) => {
    await addUser(username, password)
    const file = join(folder, 'pg_service.conf')
    const got = await getAs({ username, password }, ['--format', 'pg-service', ...at, '--out', file])
    expect(got).toMatchObject({ status: 0, out: '', err: '' })
    expect(await ask({ PGSERVICEFILE: file, PGSERVICE: 'orders-ro' })).toEqual({
      code: 0,
      stdout: `${username}\n`,
      stderr: '',
    })
  })

  it('refuses the line that psql could not read', async () => {
    expect(() => write('pg-service', { username: 'u', password: 'x'.repeat(1_013) })).toThrow(/longer than/)
  })
})
