import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

function run(command: string, args: string[], cwd: string) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (command === 'npm' && status !== 0) throw new Error(`npm ${args.join(' ')} ended with ${status}: ${stderr}`)
  return { status, stdout, stderr }
}

// A folder that has nothing of the checkout: what is missing from the package is missing here.
describe('the published package, installed into an empty folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-package-'))
  const installed = join(folder, 'node_modules/writ')
  const writ = (...args: string[]) => run(process.execPath, [join(installed, 'bin/writ.js'), ...args], folder)

  beforeAll(() => {
    // Packing builds first (`prepack`).
    run('npm', ['pack', '--silent', '--pack-destination', folder], root)
    writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}')
    const tarball = `./${manifest.name}-${manifest.version}.tgz`
    run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--silent', tarball], folder)
  }, 240_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('runs, and says what it can do', () => {
    expect(existsSync(join(folder, 'node_modules/.bin/writ'))).toBe(true)
    const help = writ('--help')
    expect(help).toMatchObject({ status: 0, stderr: '' })
    expect(help.stdout).toContain('writ: short-lived credentials')
    expect(writ('--version').stdout).toBe(`writ ${manifest.version}\n`)
  })

  it('has every command, without the development dependencies', () => {
    const names =
      writ('--help')
        .stdout.match(/^ {2}([a-z]+) {2}/gm)
        ?.map((line) => line.trim()) ?? []
    expect(names.length).toBeGreaterThan(10)
    for (const name of names) expect(writ(name, '--help'), name).toMatchObject({ status: 0, stderr: '' })
  })

  it('checks the policies it brings along, with everything that takes', () => {
    expect(writ('policy', 'check', join(installed, 'policies'))).toMatchObject({ status: 0 })
  })

  it('starts as far as a broker without a configuration can', () => {
    const serve = writ('serve')
    expect(serve.status).toBe(2)
    expect(serve.stderr).toContain('vault.address is missing')
  })

  it('can be imported: the shapes on the wire and the codes', () => {
    const script = `
      import { codes, credentialRequestSchema } from 'writ'
      console.log(codes.purpose_unknown.status, credentialRequestSchema.safeParse({ purpose: 'p' }).success)`
    expect(run(process.execPath, ['--input-type=module', '-e', script], folder)).toMatchObject({ stdout: '403 true\n' })
    expect(existsSync(join(installed, manifest.exports['.'].types))).toBe(true)
  })

  it('holds no source, no test and no secret', () => {
    // Compiled code that the first start kept is not part of it.
    const parts = readdirSync(installed).filter((name) => name !== 'node_modules')
    expect(parts.sort()).toEqual(['LICENSE', 'README.md', 'bin', 'dist', 'package.json', 'policies'])
    const files = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' })
    expect(files.filter((path) => /(?<!\.d)\.ts$|\.map$|\.test\./.test(path))).toEqual([])
  })
})
