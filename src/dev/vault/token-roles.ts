import { type Reply, type Route, VaultError } from './backend.ts'
import { commaList, count, flag, text } from './fields.ts'
import type { Token } from './tokens.ts'

/** What a token role lets its tokens be (`auth/token/roles/…`). */
export interface TokenRole {
  readonly name: string
  readonly allowed: readonly string[]
  readonly disallowed: readonly string[]
  readonly orphan: boolean
  readonly renewable: boolean
  readonly uses: number
  readonly withoutDefault: boolean
}

export interface TokenRoles {
  /** @throws VaultError 400 */
  find(name: string): TokenRole
  readonly routes: readonly Route[]
}

const unsupported = [
  'allowed_policies_glob',
  'disallowed_policies_glob',
  'path_suffix',
  'bound_cidrs',
  'token_bound_cidrs',
  'period',
  'token_period',
  'explicit_max_ttl',
  'token_explicit_max_ttl',
  'allowed_entity_aliases',
]

/** Token roles, without the globs, suffixes, networks and lives of the real one: those are refused. */
export function createTokenRoles(): TokenRoles {
  const roles = new Map<string, TokenRole>()

  const write = (name: string, body: Readonly<Record<string, unknown>>): Reply | undefined => {
    const unknown = unsupported.find((field) => text(body[field]) !== '')
    if (unknown !== undefined) throw new VaultError(400, `the development server has no ${unknown}`)
    const before = roles.get(name)
    const orphan = flag(body.orphan, before?.orphan ?? false)
    if (text(body.token_type) === 'batch' && !orphan)
      throw new VaultError(400, "'token_type' cannot be 'batch' when role is set to generate non-orphan tokens")
    if (text(body.token_type).includes('batch')) throw new VaultError(400, 'the development server has no batch roles')
    roles.set(name, {
      name,
      allowed: body.allowed_policies === undefined ? (before?.allowed ?? []) : commaList(body.allowed_policies),
      disallowed:
        body.disallowed_policies === undefined ? (before?.disallowed ?? []) : commaList(body.disallowed_policies),
      orphan,
      renewable: flag(body.renewable, before?.renewable ?? true),
      uses: count(body.token_num_uses, before?.uses),
      withoutDefault: flag(body.token_no_default_policy, before?.withoutDefault ?? false),
    })
    return undefined
  }

  return {
    find(name) {
      const role = roles.get(name)
      if (role === undefined) throw new VaultError(400, `unknown role ${name}`)
      return role
    },
    routes: [
      { pattern: 'roles/', on: { list: () => ({ data: { keys: [...roles.keys()].sort() } }) } },
      {
        pattern: 'roles/:name',
        exists: ({ names }) => roles.has(names.name ?? ''),
        on: {
          read: ({ names }) => {
            const role = roles.get(names.name ?? '')
            if (role === undefined) throw new VaultError(404)
            return { data: described(role) }
          },
          update: ({ names, body }) => write(names.name ?? '', body),
          delete: ({ names }) => void roles.delete(names.name ?? ''),
        },
      },
    ],
  }
}

const described = (role: TokenRole): Readonly<Record<string, unknown>> => ({
  allowed_entity_aliases: null,
  allowed_policies: role.allowed,
  allowed_policies_glob: [],
  disallowed_policies: role.disallowed,
  disallowed_policies_glob: [],
  explicit_max_ttl: 0,
  name: role.name,
  orphan: role.orphan,
  path_suffix: '',
  period: 0,
  renewable: role.renewable,
  token_explicit_max_ttl: 0,
  token_no_default_policy: role.withoutDefault,
  ...(role.uses > 0 && { token_num_uses: role.uses }),
  token_period: 0,
  token_type: 'default-service',
})

/**
 * The policies of a token that a role makes. A role that lists policies decides alone, whatever the parent has.
 * @throws VaultError 400
 */
export function policiesByRole(role: TokenRole, asked: readonly string[], parent: Token, bare: boolean): string[] {
  const addDefault = !bare && !role.withoutDefault && !role.disallowed.includes('default')
  const withDefault = (policies: readonly string[]): string[] => [
    ...new Set(addDefault ? [...policies, 'default'] : policies),
  ]
  const allowed = withDefault(role.allowed)
  const wished =
    asked.length > 0 ? withDefault(asked) : role.allowed.length > 0 ? allowed : withDefault(parent.policies)
  const quoted = (policies: readonly string[]): string => `[${policies.map((policy) => `"${policy}"`).join(' ')}]`
  if (role.allowed.length > 0 && asked.length > 0 && wished.some((policy) => !allowed.includes(policy))) {
    throw new VaultError(
      400,
      `token policies (${quoted(wished)}) must be subset of the role's allowed policies (${quoted(allowed)}) or glob policies ([])`,
    )
  }
  const forbidden = wished.find((policy) => role.disallowed.includes(policy))
  if (forbidden !== undefined) throw new VaultError(400, `token policy "${forbidden}" is disallowed by this role`)
  return wished.filter((policy) => !bare || policy !== 'default')
}
