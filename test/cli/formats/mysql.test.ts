import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ended, eventually, freePort, guard } from '../../support/child.ts'
import { onPath, runProgram } from '../../support/program.ts'
import { getAs, write } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-my-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'my.cnf')

describe('my-cnf', () => {
  it('refuses the line that the reader would cut in two', () => {
    const password = `${'"'.repeat(2_000)}\n[mysqld]`
    expect(() => write('my-cnf', { username: 'u', password })).toThrow(/longer than/)
  })

  it('hands back an empty password and a NUL, which clients take for none', async () => {
    for (const password of ['', 'a\0b']) {
      const got = await getAs({ username: 'u', password }, ['--format', 'my-cnf'])
      expect(got).toMatchObject({ status: 1, out: '', handedBack: 1 })
    }
  })
})

describe.skipIf(!onPath('my_print_defaults'))('needs my_print_defaults on PATH: the reader of option files', () => {
  it('reads every value back as it was', () => {
    const unit = fc.oneof(
      fc.constantFrom('"', "'", '\\', '#', ';', ' ', '\t', '\n', '\r', '\b', '[', ']', '=', '!', 'n', 's'),
      fc.string({ minLength: 1, maxLength: 1, unit: 'grapheme' }),
    )
    const value = fc.string({ unit, minLength: 1, maxLength: 60 }).filter((text) => !text.includes('\0'))
    fc.assert(
      fc.property(value, value, (username, password) => {
        writeFileSync(file, write('my-cnf', { username, password }, { host: 'db', database: 'orders' }))
        const { stdout } = spawnSync('my_print_defaults', [`--defaults-file=${file}`, 'client'], {
          encoding: 'utf8',
        })
        expect(stdout).toBe(`--host=db\n--user=${username}\n--password=${password}\n`)
      }),
      { numRuns: 60 },
    )
  })
})

const available = onPath('mariadbd', 'mariadb-install-db', 'mysql')
describe.skipIf(!available)('needs mariadbd, mariadb-install-db and mysql on PATH: the option file', () => {
  const data = join(folder, 'data')
  const socket = join(folder, 's')
  let port: number
  let stop: () => Promise<void>
  const admin = (sql: string): string =>
    execFileSync('mysql', ['--no-defaults', '--user=root', `--socket=${socket}`], {
      input: sql,
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore'],
    })

  beforeAll(async () => {
    const user = `--user=${userInfo().username}`
    const install = ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', user]
    execFileSync('mariadb-install-db', [...install, '--skip-test-db'], { stdio: 'ignore' })
    port = await freePort()
    const own = [`--datadir=${data}`, `--socket=${socket}`, `--pid-file=${folder}/pid`, `--port=${port}`]
    const server = spawn('mariadbd', ['--no-defaults', ...own, '--bind-address=127.0.0.1', user], { stdio: 'ignore' })
    const release = guard(server.pid ?? 0, 'KILL', folder)
    stop = async () => {
      server.kill('SIGTERM')
      await ended(server)
      release()
    }
    await eventually(async () => admin('SELECT 1'), 'mariadbd takes log-ins', 60_000)
    admin('CREATE DATABASE orders')
  }, 120_000)
  afterAll(() => stop?.())

  it.each([
    ['plain', 'v-token-1'],
    ['with # mark', 'a"b\'c\\d#e;f\ng\th '],
    ['"', '\\'],
  ])('lets %j in', async (username, password) => {
    const sql = (text: string): string => `'${text.replace(/['\\]/g, '\\$&')}'`
    admin(
      `CREATE USER ${sql(username)}@'%' IDENTIFIED BY ${sql(password)}; GRANT ALL ON orders.* TO ${sql(username)}@'%'`,
    )
    const at = ['--host', '127.0.0.1', '--port', String(port), '--database', 'orders']
    const got = await getAs({ username, password }, ['--format', 'my-cnf', ...at, '--out', file])
    expect(got).toMatchObject({ status: 0, out: '' })
    const ran = await runProgram('mysql', [`--defaults-file=${file}`, '-BNre', 'SELECT database(), user()'])
    expect(ran).toEqual({ code: 0, stdout: `orders\t${username}@localhost\n`, stderr: '' })
    expect((await runProgram('mysqladmin', [`--defaults-file=${file}`, 'ping'])).stdout).toContain('alive')
  })
})
