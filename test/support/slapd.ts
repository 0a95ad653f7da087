import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ended, eventually, freePort, guard } from './child.ts'

/** A real OpenLDAP server of its own, with an empty `ou=users` below `suffix`. */
export interface TestSlapd {
  readonly url: string
  readonly suffix: string
  readonly adminDn: string
  readonly adminPassword: string
  /** Whether a bind with that name and password succeeds (`ldapwhoami`). */
  canBind(dn: string, password: string): Promise<boolean>
  stop(): Promise<void>
}

const program = ['/usr/sbin/slapd', '/usr/lib/openldap/slapd', '/usr/libexec/slapd'].find((path) => existsSync(path))
const schemas = '/etc/ldap/schema'

/** Whether `slapd` and its clients are here. */
export const slapdAvailable = (): boolean =>
  program !== undefined && existsSync(schemas) && spawnSync('ldapwhoami', ['-VV'], { stdio: 'ignore' }).status === 0

const suffix = 'dc=example,dc=test'
const adminDn = `cn=admin,${suffix}`
const adminPassword = 'canary-ldap-admin'

/** Starts it on a free port of 127.0.0.1; it ends with this process, and its folder with it. */
export async function startSlapd(): Promise<TestSlapd> {
  if (program === undefined) throw new Error('slapd is not installed')
  const folder = await mkdtemp(join(tmpdir(), 'writ-slapd-'))
  await mkdir(join(folder, 'data'))
  const config = join(folder, 'slapd.conf')
  await writeFile(
    config,
    [
      ...['core', 'cosine', 'inetorgperson'].map((name) => `include ${schemas}/${name}.schema`),
      'modulepath /usr/lib/ldap',
      'moduleload back_mdb',
      'database mdb',
      `suffix "${suffix}"`,
      `rootdn "${adminDn}"`,
      `rootpw ${adminPassword}`,
      `directory ${join(folder, 'data')}`,
      'access to attrs=userPassword by anonymous auth by * none',
      'access to * by users read by * none',
    ].join('\n'),
  )
  const port = await freePort()
  const url = `ldap://127.0.0.1:${port}`
  // A debug level, even 0, keeps it in the foreground.
  const child: ChildProcess = spawn(program, ['-f', config, '-h', url, '-d', '0'], { stdio: 'ignore', cwd: folder })
  const release = child.pid === undefined ? () => {} : guard(child.pid, 'KILL', folder)

  const run = promisify(execFile)
  const canBind = async (dn: string, password: string): Promise<boolean> => {
    const said = await run('ldapwhoami', ['-x', '-H', url, '-D', dn, '-w', password]).then(
      ({ stdout }) => ({ stdout, code: 0 }),
      ({ code }: { code: number }) => ({ stdout: '', code }),
    )
    // 49 is invalidCredentials (RFC 4511, appendix A): anything else is not an answer to the question.
    if (said.code !== 0 && said.code !== 49) throw new Error(`ldapwhoami ended with ${said.code}`)
    return said.code === 0 && said.stdout.trim() === `dn:${dn}`
  }
  await eventually(async () => ((await canBind(adminDn, adminPassword)) ? true : undefined), 'slapd answers')
  const base = join(folder, 'base.ldif')
  await writeFile(
    base,
    `dn: ${suffix}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n` +
      `dn: ou=users,${suffix}\nobjectClass: organizationalUnit\nou: users\n`,
  )
  await run('ldapadd', ['-x', '-H', url, '-D', adminDn, '-w', adminPassword, '-f', base])
  return {
    url,
    suffix,
    adminDn,
    adminPassword,
    canBind,
    async stop() {
      child.kill('SIGKILL')
      await ended(child)
      release()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
