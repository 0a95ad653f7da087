import { randomUUID } from 'node:crypto'
import { type Backend, type Call, type Reply, VaultError } from './backend.ts'
import { commaList, count, flag, seconds, text, textMap } from './fields.ts'
import { authOf } from './token-routes.ts'
import type { Tokens } from './tokens.ts'

interface SecretId {
  readonly id: string
  readonly accessor: string
  readonly createdMs: number
  readonly expiresMs: number | undefined
  usesLeft: number
  readonly limited: boolean
  readonly meta: Readonly<Record<string, string>> | undefined
}

interface AppRole {
  readonly name: string
  roleId: string
  settings: Readonly<Record<string, unknown>>
  readonly secretIds: Map<string, SecretId>
}

const defaults = {
  bind_secret_id: true,
  local_secret_ids: false,
  secret_id_bound_cidrs: null,
  secret_id_num_uses: 0,
  secret_id_ttl: 0,
  token_bound_cidrs: [],
  token_explicit_max_ttl: 0,
  token_max_ttl: 0,
  token_no_default_policy: false,
  token_num_uses: 0,
  token_period: 0,
  token_policies: [],
  token_strictly_bind_ip: false,
  token_ttl: 0,
  token_type: 'default',
}

function settingsFrom(
  body: Readonly<Record<string, unknown>>,
  old: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const next: Record<string, unknown> = { ...old }
  for (const key of [
    'secret_id_ttl',
    'token_explicit_max_ttl',
    'token_max_ttl',
    'token_period',
    'token_ttl',
  ] as const) {
    if (key in body) next[key] = seconds(body[key]) ?? 0
  }
  for (const key of ['secret_id_num_uses', 'token_num_uses'] as const) if (key in body) next[key] = count(body[key])
  for (const key of ['bind_secret_id', 'token_no_default_policy'] as const)
    if (key in body) next[key] = flag(body[key], false)
  if ('token_type' in body) next.token_type = text(body.token_type)
  const policies = body.token_policies ?? body.policies
  if (policies !== undefined) next.token_policies = commaList(policies)
  if (count(next.token_max_ttl) > 0 && count(next.token_ttl) > count(next.token_max_ttl)) {
    throw new VaultError(400, '"token_ttl" cannot be greater than "token_max_ttl"')
  }
  return next
}

/** The auth method AppRole: role ids, secret ids with uses and life, login. */
export function createAppRole(deps: { tokens: Tokens; now: () => number; mountPath: string }): Backend {
  const { tokens, now } = deps
  const roles = new Map<string, AppRole>()
  const roleOf = (call: Call): AppRole => {
    const role = roles.get(call.names.name ?? '')
    if (role === undefined) throw new VaultError(404)
    return role
  }
  const expired = (secret: SecretId): boolean => secret.expiresMs !== undefined && secret.expiresMs <= now()

  const giveSecretId = (call: Call): Reply => {
    const role = roles.get(call.names.name ?? '')
    if (role === undefined) throw new VaultError(400, `role "${call.names.name}" does not exist`)
    const ttl = seconds(call.body.ttl) ?? count(role.settings.secret_id_ttl)
    const uses = count(call.body.num_uses, count(role.settings.secret_id_num_uses))
    const custom = text(call.body.secret_id)
    const metadata = text(call.body.metadata)
    const secret: SecretId = {
      id: custom === '' ? randomUUID() : custom,
      accessor: randomUUID(),
      createdMs: now(),
      expiresMs: ttl === 0 ? undefined : now() + ttl * 1000,
      usesLeft: uses,
      limited: uses > 0,
      meta: metadata === '' ? undefined : textMap(JSON.parse(metadata)),
    }
    role.secretIds.set(secret.id, secret)
    return {
      data: { secret_id: secret.id, secret_id_accessor: secret.accessor, secret_id_num_uses: uses, secret_id_ttl: ttl },
    }
  }

  const login = (call: Call): Reply => {
    const refused = new VaultError(400, 'invalid role or secret ID')
    const roleId = text(call.body.role_id)
    if (roleId === '') throw new VaultError(500, 'missing role_id')
    const role = [...roles.values()].find((candidate) => candidate.roleId === roleId)
    if (role === undefined) throw refused
    let meta: Readonly<Record<string, string>> | undefined
    if (role.settings.bind_secret_id === true) {
      const secretId = text(call.body.secret_id)
      if (secretId === '') throw new VaultError(400, 'missing secret_id')
      const secret = role.secretIds.get(secretId)
      if (secret === undefined || expired(secret)) throw refused
      if (secret.limited && --secret.usesLeft === 0) role.secretIds.delete(secretId)
      meta = secret.meta
    }
    const { settings } = role
    const policies = [...commaList(settings.token_policies)]
    if (settings.token_no_default_policy !== true) policies.push('default')
    const maxTtl = count(settings.token_max_ttl)
    const token = tokens.create({
      policies,
      meta: { ...meta, role_name: role.name },
      displayName: 'approle',
      path: `auth/${deps.mountPath}login`,
      ttlSeconds: count(settings.token_ttl) || maxTtl || 2_764_800,
      maxSeconds: maxTtl,
      explicitMaxSeconds: count(settings.token_explicit_max_ttl),
      periodSeconds: count(settings.token_period),
      renewable: true,
      entityId: randomUUID(),
      uses: count(settings.token_num_uses),
      batch: settings.token_type === 'batch',
    })
    return { auth: authOf(token, now()) }
  }

  const ended = (call: Call, key: 'id' | 'accessor', field: string): undefined => {
    const role = roleOf(call)
    for (const secret of role.secretIds.values()) {
      if (secret[key] === text(call.body[field])) role.secretIds.delete(secret.id)
    }
    return undefined
  }

  return {
    routes: [
      { pattern: 'login', open: true, on: { update: login } },
      {
        pattern: 'role/',
        on: {
          list: () => {
            if (roles.size === 0) throw new VaultError(404)
            return { data: { keys: [...roles.keys()].sort() } }
          },
        },
      },
      {
        pattern: 'role/:name',
        exists: (call) => roles.has(call.names.name ?? ''),
        on: {
          read: (call) => ({ data: roleOf(call).settings }),
          update: (call) => {
            const name = call.names.name ?? ''
            const old = roles.get(name)
            const settings = settingsFrom(call.body, old?.settings ?? defaults)
            const roleId = text(call.body.role_id)
            roles.set(name, {
              name,
              roleId: roleId === '' ? (old?.roleId ?? randomUUID()) : roleId,
              settings,
              secretIds: old?.secretIds ?? new Map(),
            })
            return undefined
          },
          delete: (call) => void roles.delete(call.names.name ?? ''),
        },
      },
      {
        pattern: 'role/:name/role-id',
        on: {
          read: (call) => ({ data: { role_id: roleOf(call).roleId } }),
          update: (call) => {
            roleOf(call).roleId = text(call.body.role_id)
            return undefined
          },
        },
      },
      {
        pattern: 'role/:name/secret-id',
        on: {
          update: giveSecretId,
          list: (call) => ({ data: { keys: [...roleOf(call).secretIds.values()].map((secret) => secret.accessor) } }),
        },
      },
      { pattern: 'role/:name/secret-id/destroy', on: { update: (call) => ended(call, 'id', 'secret_id') } },
      {
        pattern: 'role/:name/secret-id-accessor/destroy',
        on: { update: (call) => ended(call, 'accessor', 'secret_id_accessor') },
      },
    ],
  }
}
