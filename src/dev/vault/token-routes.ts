import {
  type AuthReply,
  type Backend,
  type Call,
  listed,
  type Reply,
  systemMaxTtlSeconds,
  VaultError,
} from './backend.ts'
import { commaList, count, flag, seconds, text, textMap } from './fields.ts'
import { createTokenRoles, policiesByRole, type TokenRole } from './token-roles.ts'
import type { Token, Tokens } from './tokens.ts'

/** `auth` of the response that hands a token over, or renews one. */
export function authOf(token: Token, nowMs: number): AuthReply {
  return {
    client_token: token.id,
    accessor: token.accessor,
    policies: token.policies,
    ...(token.policies.length > 0 ? { token_policies: token.policies } : {}),
    metadata: token.meta,
    lease_duration: token.expiresMs === undefined ? 0 : Math.round((token.expiresMs - nowMs) / 1000),
    renewable: token.renewable,
    entity_id: token.entityId,
    token_type: token.batch ? 'batch' : 'service',
    orphan: token.parent === undefined,
    mfa_requirement: null,
    num_uses: Math.max(0, token.usesLeft),
  }
}

/** `data` of a look-up. By accessor the id stays out. */
function described(token: Token, nowMs: number, withId: boolean): Reply {
  return {
    data: {
      accessor: token.accessor,
      creation_time: Math.floor(token.createdMs / 1000),
      creation_ttl: token.creationSeconds,
      display_name: token.displayName,
      entity_id: token.entityId,
      expire_time: token.expiresMs === undefined ? null : new Date(token.expiresMs).toISOString(),
      explicit_max_ttl: token.explicitMaxSeconds,
      id: withId ? token.id : '',
      issue_time: new Date(token.createdMs).toISOString(),
      meta: token.meta,
      num_uses: token.usesLeft,
      orphan: token.parent === undefined,
      path: token.path,
      ...(token.periodSeconds > 0 ? { period: token.periodSeconds } : {}),
      policies: token.policies,
      renewable: token.renewable,
      ...(token.role !== undefined && { role: token.role }),
      ttl: token.expiresMs === undefined ? 0 : Math.floor((token.expiresMs - nowMs) / 1000),
      type: token.batch ? 'batch' : 'service',
    },
  }
}

/** The smaller of two limits, where 0 is none. */
const least = (one = 0, other = 0): number => (one === 0 || other === 0 ? Math.max(one, other) : Math.min(one, other))

/** The mount `auth/token/`. */
export function createTokenBackend(deps: { tokens: Tokens; now: () => number }): Backend {
  const { tokens, now } = deps
  const roles = createTokenRoles()

  const caller = (call: Call): Token => {
    if (call.token === undefined) throw new VaultError(403, 'permission denied')
    return call.token
  }
  const named = (call: Call): Token => {
    const id = text(call.body.token ?? call.query.get('token'))
    if (id === '') throw new VaultError(400, 'missing token ID')
    const token = tokens.find(id)
    if (token === undefined) throw new VaultError(403, 'bad token')
    return token
  }
  const byAccessor = (call: Call): Token => {
    const accessor = text(call.body.accessor)
    if (accessor === '') throw new VaultError(400, 'missing accessor')
    const token = tokens.byAccessor(accessor)
    if (token === undefined) throw listed(403, 'invalid accessor')
    return token
  }
  const renewed = (token: Token, call: Call): Reply => ({
    auth: authOf(tokens.renew(token.id, seconds(call.body.increment)), now()),
  })

  /** The policies of a token that no role limits: those of its parent at most. */
  const policiesByParent = (call: Call, parent: Token, orphan: boolean): string[] => {
    const root = parent.policies.includes('root')
    const asked = commaList(call.body.policies)
    if (!root && asked.some((policy) => policy !== 'default' && !parent.policies.includes(policy)) && !orphan) {
      throw new VaultError(400, 'child policies must be subset of parent')
    }
    if (asked.includes('root') && !root)
      throw new VaultError(400, 'root tokens may not be created without parent token being root')
    const withoutDefault = flag(call.body.no_default_policy, false)
    const wished = asked.length > 0 ? asked : parent.policies
    const policies = wished.filter((policy) => !withoutDefault || policy !== 'default')
    if (!policies.includes('root') && !withoutDefault) policies.push('default')
    return policies
  }

  const create = (call: Call, orphan: boolean, role?: TokenRole): Reply => {
    const parent = caller(call)
    if (parent.usesLeft !== 0) throw new VaultError(400, 'restricted use token cannot generate child tokens')
    const root = parent.policies.includes('root')
    const bare = flag(call.body.no_default_policy, false)
    const limits = role !== undefined && role.allowed.length + role.disallowed.length > 0
    const policies = limits
      ? policiesByRole(role, commaList(call.body.policies), parent, bare)
      : policiesByParent(call, parent, orphan)
    if (role !== undefined && policies.includes('root') && !root)
      throw new VaultError(400, 'root tokens may not be created without parent token being root')
    const noParent = role?.orphan ?? (orphan || (flag(call.body.no_parent, false) && root))
    const period = role === undefined ? (seconds(call.body.period) ?? 0) : 0
    const explicitMax = seconds(call.body.explicit_max_ttl) ?? 0
    const wanted = seconds(call.body.ttl ?? call.body.lease)
    const ttl = wanted ?? (policies.includes('root') ? 0 : systemMaxTtlSeconds)
    const id = text(call.body.id)
    const name = text(call.body.display_name).replace(/[^a-zA-Z0-9-]/g, '-')
    const token = tokens.create({
      ...(id === '' ? {} : { id }),
      policies,
      meta: textMap(call.body.meta),
      displayName: name === '' ? 'token' : `token-${name}`,
      ...(role !== undefined && { role: role.name }),
      path: role === undefined ? `auth/token/create${orphan ? '-orphan' : ''}` : `auth/token/create/${role.name}`,
      ttlSeconds: ttl,
      explicitMaxSeconds: explicitMax,
      periodSeconds: period,
      renewable: flag(call.body.renewable, true) && role?.renewable !== false,
      parent: noParent ? undefined : parent.id,
      uses: least(count(call.body.num_uses), role?.uses),
    })
    const most = least(systemMaxTtlSeconds, explicitMax)
    const capped = wanted !== undefined && wanted > most && period === 0
    return {
      auth: authOf(token, now()),
      ...(capped
        ? { warnings: [`TTL of "${wanted}s" exceeded the effective max_ttl; TTL value is capped accordingly`] }
        : {}),
    }
  }

  return {
    routes: [
      ...roles.routes,
      {
        pattern: 'create/:role',
        on: { update: (call) => create(call, false, roles.find(call.names.role ?? '')) },
      },
      { pattern: 'create', on: { update: (call) => create(call, false) } },
      { pattern: 'create-orphan', sudo: true, on: { update: (call) => create(call, true) } },
      { pattern: 'lookup-self', on: { read: (call) => described(caller(call), now(), true) } },
      {
        pattern: 'lookup',
        on: { update: (call) => described(call.body.token === undefined ? caller(call) : named(call), now(), true) },
      },
      { pattern: 'lookup-accessor', on: { update: (call) => described(byAccessor(call), now(), false) } },
      { pattern: 'accessors/', sudo: true, on: { list: () => ({ data: { keys: tokens.accessors() } }) } },
      { pattern: 'renew-self', on: { update: (call) => renewed(caller(call), call) } },
      { pattern: 'renew', on: { update: (call) => renewed(named(call), call) } },
      {
        pattern: 'renew-accessor',
        on: {
          update: (call) => {
            const token = byAccessor(call)
            return { auth: { ...renewed(token, call).auth, client_token: '' } }
          },
        },
      },
      { pattern: 'revoke-self', on: { update: async (call) => void (await tokens.revoke(caller(call).id)) } },
      {
        pattern: 'revoke',
        on: {
          update: async (call) => {
            const id = text(call.body.token)
            if (id === '') throw new VaultError(400, 'missing token ID')
            await tokens.revoke(id)
            return undefined
          },
        },
      },
      {
        pattern: 'revoke-orphan',
        sudo: true,
        on: { update: async (call) => void (await tokens.revokeOrphaning(text(call.body.token))) },
      },
      {
        pattern: 'revoke-accessor',
        on: {
          update: async (call) => {
            const accessor = text(call.body.accessor)
            if (accessor === '') throw new VaultError(400, 'missing accessor')
            const token = tokens.byAccessor(accessor)
            if (token === undefined) return { data: null, warnings: ['No token found with this accessor'] }
            await tokens.revoke(token.id)
            return undefined
          },
        },
      },
    ],
  }
}
