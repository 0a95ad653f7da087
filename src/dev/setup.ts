import { randomBytes } from 'node:crypto'
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Secret } from '../base/secret.ts'
import type { MintTarget } from '../engines/engine.ts'
import { VaultFault } from '../engines/faults.ts'
import { createEngines } from '../engines/registry.ts'
import { createVaultSession, type VaultSession } from '../engines/vault-session.ts'
import { defaultWrapPolicy } from '../engines/wrapped.ts'
import type { CompiledCredential, PolicySet } from '../policy/compile.ts'
import { ensureMount, leaveToOwner, yearSeconds } from './mount.ts'
import { ensureUser, groups } from './sample-data.ts'

/** Where Vault is and what it needs to be set up. */
export interface SetupOptions {
  readonly address: string
  /** May do everything that set-up does. */
  readonly token: string
  readonly policies: PolicySet
  /** Database that the database engine hands out users of. */
  readonly databaseUrl: string
  readonly clock: Clock
  readonly log: Log
  /** Told in words what is left to do. */
  readonly onProgress?: (step: string) => void
}

const connectionName = 'writ-dev'
const brokerPolicy = 'writ-broker'
const usualSeconds = 900

/** `{{…}}` of a Credential may become any name, so the role allows any text there. */
const asGlob = (text: string): string => text.replace(/\{\{[^}]*\}\}/g, '*')

function listOf(value: MintTarget['params'][string] | undefined): readonly string[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value
  return String(value)
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** Limits of a role: as long as the credential that may live longest, and as short as usual when nobody says more. */
function livesOf(group: readonly CompiledCredential[]): { ttl: string; max: string } {
  const max = Math.max(...group.map((credential) => credential.maxSeconds ?? usualSeconds))
  return { ttl: `${Math.min(usualSeconds, max)}s`, max: `${max}s` }
}

/** Whether a read finds something; Vault says "not yet" with 404 here and 400 or 500 there. */
const found = (session: VaultSession, path: string): Promise<boolean> =>
  session.read(path).then(
    ({ data }) => data !== null && data !== undefined,
    () => false,
  )

type Group = readonly [CompiledCredential, ...CompiledCredential[]]
type Prepare = (session: VaultSession, mount: string, group: Group, options: SetupOptions) => Promise<void>

async function database(session: VaultSession, mount: string, group: Group, options: SetupOptions): Promise<void> {
  const url = new URL(options.databaseUrl)
  await session.write(`${mount}/config/${connectionName}`, {
    plugin_name: 'postgresql-database-plugin',
    allowed_roles: '*',
    connection_url: `postgresql://{{username}}:{{password}}@${url.host}${url.pathname}?sslmode=disable`,
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    max_open_connections: 8,
  })
  for (const [role, sharing] of byRole(group)) {
    const { ttl, max } = livesOf(sharing)
    const member = /(?:^|[-_])(?:rw|write|writer|admin)$/.test(role) ? groups.write : groups.read
    if (sharing.some(({ target }) => target.params.staticRole === true)) {
      // Nobody may hold its password for longer than the shortest of its Credentials allows.
      const seconds = Math.min(...sharing.map(({ maxSeconds }) => maxSeconds ?? usualSeconds))
      await ensureUser(options.databaseUrl, role, member)
      const standing = { db_name: connectionName, username: role, rotation_period: `${seconds}s` }
      await session.write(`${mount}/static-roles/${role}`, standing)
      continue
    }
    await session.write(`${mount}/roles/${role}`, {
      db_name: connectionName,
      creation_statements: [
        `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE ${member}`,
      ],
      // A session that is open when its user is dropped would go on; it ends first.
      revocation_statements: [
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'`,
        `DROP ROLE IF EXISTS "{{name}}"`,
      ],
      default_ttl: ttl,
      max_ttl: max,
    })
  }
}

async function pki(session: VaultSession, mount: string, group: Group): Promise<void> {
  if (!(await found(session, `${mount}/cert/ca`))) {
    const root = { common_name: 'writ dev root', ttl: `${10 * yearSeconds}s`, key_type: 'ec', key_bits: 256 }
    await session.write(`${mount}/root/generate/internal`, root)
  }
  for (const [role, sharing] of byRole(group)) {
    const all = (name: string): string[] => sharing.flatMap(({ target }) => listOf(target.params[name]).map(asGlob))
    const names = [...all('common_name'), ...all('alt_names')]
    const { ttl, max } = livesOf(sharing)
    await session.write(`${mount}/roles/${role}`, {
      allowed_domains: names,
      allow_bare_domains: true,
      allow_glob_domains: true,
      allowed_uri_sans: all('uri_sans'),
      allow_ip_sans: all('ip_sans').length > 0,
      allow_localhost: false,
      require_cn: sharing.every(({ target }) => target.params.common_name !== undefined),
      key_type: 'ec',
      key_bits: 256,
      // What a request brings must be what the Credential says, and the broker has checked that it is.
      use_csr_common_name: true,
      use_csr_sans: true,
      no_store: sharing.some(({ target }) => target.params.no_store === true),
      generate_lease: sharing.some(({ target }) => target.params.generate_lease === true),
      ttl,
      max_ttl: max,
    })
  }
}

async function ssh(session: VaultSession, mount: string, group: Group): Promise<void> {
  if (!(await found(session, `${mount}/config/ca`))) {
    await session.write(`${mount}/config/ca`, { generate_signing_key: true, key_type: 'ed25519' })
  }
  for (const [role, sharing] of byRole(group)) {
    const principals = sharing.flatMap(({ target }) => listOf(target.params.valid_principals))
    const open = principals.length === 0 || principals.some((name) => name.includes('{{'))
    const names = (key: string): string =>
      sharing.flatMap(({ target }) => listOf(target.params[key]).map((text) => text.split('=', 1)[0] ?? '')).join(',')
    const isHost = sharing.some(({ target }) => target.params.cert_type === 'host')
    const { ttl, max } = livesOf(sharing)
    await session.write(`${mount}/roles/${role}`, {
      key_type: 'ca',
      allow_user_certificates: !isHost,
      allow_host_certificates: isHost,
      allowed_users: open ? '*' : principals.join(','),
      allowed_domains: isHost ? '*' : '',
      default_user: open ? '' : (principals[0] ?? ''),
      allow_user_key_ids: true,
      allowed_extensions: names('extensions') || 'permit-pty',
      default_extensions: { 'permit-pty': '' },
      allowed_critical_options: names('critical_options'),
      ttl,
      max_ttl: max,
    })
  }
}

// A new kv mount refuses while it prepares its versions; on several servers for longer than on one.
const preparingTries = 100

async function writeWhenReady(session: VaultSession, path: string, data: object): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await session.write(path, data)
      return
    } catch (thrown) {
      if (!(thrown instanceof VaultFault) || thrown.kind !== 'rejected' || tries === preparingTries) throw thrown
      await sleep(systemClock, 100)
    }
  }
}

async function kv(session: VaultSession, mount: string, group: Group): Promise<void> {
  for (const [path, sharing] of byRole(group)) {
    const keys = new Set(sharing.flatMap(({ target }) => listOf(target.params.keys)))
    if (keys.size === 0) keys.add('value')
    const version = Math.max(1, ...sharing.map(({ target }) => Number(target.params.version ?? 1)))
    const { data } = await session.read(`${mount}/metadata/${path}`).catch(() => ({ data: undefined }))
    for (let current = Number(data?.current_version ?? 0); current < version; current++) {
      const secret = Object.fromEntries([...keys].map((key) => [key, `dev-${randomBytes(12).toString('hex')}`]))
      await writeWhenReady(session, `${mount}/data/${path}`, { data: secret })
    }
  }
}

/** Token roles for the policies that are named; a policy that is not there yet allows nothing. */
async function token(session: VaultSession, mount: string, group: Group): Promise<void> {
  for (const [role, sharing] of byRole(group)) {
    const policies = [...new Set(sharing.flatMap(({ target }) => listOf(target.params.policies)))]
    for (const name of policies) {
      if (await found(session, `sys/policies/acl/${name}`)) continue
      await session.write(`sys/policies/acl/${name}`, { policy: '# made by writ dev: allows nothing yet' })
    }
    await session.write(`${mount}/roles/${role}`, {
      allowed_policies: policies.join(','),
      token_no_default_policy: !policies.includes('default'),
      renewable: false,
      orphan: false,
    })
  }
}

async function transit(session: VaultSession, mount: string, group: Group): Promise<void> {
  for (const role of byRole(group).keys()) {
    if (!(await found(session, `${mount}/keys/${role}`)))
      await session.write(`${mount}/keys/${role}`, { type: 'ecdsa-p256' })
  }
}

const prepare: Readonly<Record<string, Prepare>> = { database, pki, ssh, kv, token, transit }

function byRole(group: Group): ReadonlyMap<string, Group> {
  const roles = new Map<string, Group>()
  for (const credential of group) {
    const sharing = roles.get(credential.target.role)
    roles.set(credential.target.role, sharing === undefined ? [credential] : [...sharing, credential])
  }
  return roles
}

function byMount(credentials: readonly CompiledCredential[]): ReadonlyMap<string, Group> {
  const mounts = new Map<string, Group>()
  for (const credential of credentials) {
    const key = `${credential.target.engine} ${credential.target.mount}`
    const sharing = mounts.get(key)
    mounts.set(key, sharing === undefined ? [credential] : [...sharing, credential])
  }
  return mounts
}

/** A Vault policy that allows exactly these paths. */
export function policyText(needs: readonly { readonly path: string; readonly capability: string }[]): string {
  const paths = Map.groupBy(needs, ({ path }) => path)
  return [...paths]
    .map(([path, list]) => {
      const capabilities = [...new Set(list.map(({ capability }) => `"${capability}"`))].sort()
      return `path "${path}" { capabilities = [${capabilities.join(', ')}] }`
    })
    .join('\n')
}

/**
 * Sets up every mount and role that the policies name, and a Vault policy that allows the broker exactly what its engines
 * say they need. Running it again brings it up to date. Gives the token the broker uses, which can do no more than that.
 * @throws VaultFault when Vault refuses, `SetupRefused` when a mount is of another type or an engine is not there
 */
export async function setUpVault(options: SetupOptions): Promise<{ readonly brokerToken: Secret<string> }> {
  const auth = { method: 'token' as const, token: new Secret(options.token) }
  const session = createVaultSession({ address: options.address, auth, clock: options.clock, log: options.log })
  try {
    await session.start()
    const engines = createEngines(session, options.clock)
    const needs: { path: string; capability: string }[] = []
    const minting: { path: string; capability: string }[] = []
    for (const group of byMount(options.policies.credentials).values()) {
      const [{ target }] = group
      const prepared = prepare[target.engine]
      if (prepared === undefined) {
        await leaveToOwner(session, group[0], options)
      } else {
        // Where Vault makes tokens is there from the start.
        if (target.engine !== 'token') await ensureMount(session, target.mount, target.engine)
        await prepared(session, target.mount, group, options)
      }
      const engine = engines.get(target.engine)
      for (const credential of group) {
        needs.push(
          ...(engine?.needs(credential.target, 'plain') ?? []),
          ...(engine?.needs(credential.target, 'wrapped') ?? []),
        )
        minting.push(
          ...(engine?.needs(credential.target, 'plain') ?? []).filter(({ path }) => !/^(?:sys|auth)\//.test(path)),
        )
      }
    }
    await session.write(`sys/policies/acl/${brokerPolicy}`, { policy: policyText(needs) || '# no credentials yet' })
    await session.write(`sys/policies/acl/${defaultWrapPolicy}`, {
      policy: policyText(minting) || '# no credentials yet',
    })
    const { auth: made } = await session.write('auth/token/create-orphan', {
      policies: [brokerPolicy, defaultWrapPolicy],
      period: '24h',
      display_name: 'writ',
    })
    if (made === null || made === undefined) throw new Error('Vault made no token for the broker')
    return { brokerToken: new Secret(made.client_token) }
  } finally {
    await session.close()
  }
}
