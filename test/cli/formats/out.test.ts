import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { getAs } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-out-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const secret = { username: 'v-1', password: "pa'ss" }

describe('writ get --out', () => {
  it.each(['json', 'env', 'raw:password', 'pgpass'])(
    'writes what %s would print, for the owner alone',
    async (format) => {
      const file = join(folder, 'secret')
      writeFileSync(file, 'before', { mode: 0o666 })
      const printed = await getAs(secret, ['--format', format])
      const got = await getAs(secret, ['--format', format, '--out', file])
      expect(got).toMatchObject({ status: 0, out: '', err: '', handedBack: 0 })
      expect(statSync(file).mode & 0o777).toBe(0o600)
      const times = /\d{4}-\d\d-\d\dT[\d:.]+Z/g
      expect(readFileSync(file, 'utf8').replace(times, '')).toBe(printed.out.replace(times, ''))
      expect(readdirSync(folder)).toEqual(['secret'])
    },
  )

  it('asks for nothing where it could not write, or would replace a device', async () => {
    const [aFolder, link] = [join(folder, 'a-folder'), join(folder, 'a-link')]
    mkdirSync(aFolder)
    symlinkSync('/dev/null', link)
    for (const path of [aFolder, link, '/dev/null', join(folder, 'none/secret')]) {
      const got = await getAs(secret, ['--out', path])
      expect(got).toMatchObject({ status: 1, out: '', asked: 0 })
      expect(got.err).toContain('cannot be written')
    }
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true)
  })
})

describe('a wrapped secret', () => {
  it.each(['pgpass', 'pg-service', 'my-cnf', 'aws-process', 'exec-credential', 'pem'])(
    'is no %s, and that is said before anything is asked for, or when policy wraps it',
    async (format) => {
      const asked = await getAs(secret, ['--format', format, '--delivery', 'wrapped'])
      expect(asked).toMatchObject({ status: 2, out: '', asked: 0 })
      expect(asked.err).toContain('--delivery wrapped hides them')
      const wrapping = { token: 'hvs.1', ttl: 60, accessor: 'a' }
      const wrapped = await getAs(wrapping, ['--format', format], { delivery: 'wrapped' })
      expect(wrapped).toMatchObject({ status: 2, out: '', handedBack: 1 })
      expect(wrapped.err).toContain('the secret is wrapped')
    },
  )

  it.each(['kubeconfig', 'docker'])('is no %s either', async (format) => {
    const place = format === 'docker' ? ['--registry', 'r'] : ['--server', 'https://k']
    const wrapping = { token: 'hvs.1', ttl: 60, accessor: 'a' }
    const got = await getAs(wrapping, ['--format', format, ...place], { delivery: 'wrapped' })
    expect(got).toMatchObject({ status: 2, out: '', handedBack: 1 })
    expect(got.err).toContain('the secret is wrapped')
  })
})
