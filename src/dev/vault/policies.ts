import { VaultError } from './backend.ts'
import { seconds } from './fields.ts'
import { type HclValue, parseHcl } from './hcl.ts'

/** What a policy may allow on a path. */
const known = ['create', 'read', 'update', 'delete', 'list', 'sudo', 'deny', 'patch', 'scan'] as const
export type Capability = (typeof known)[number]

/** One `path` block, merged over the policies that hold the same pattern. */
interface Rule {
  readonly pattern: string
  readonly capabilities: ReadonlySet<Capability>
  readonly allowed: Readonly<Record<string, readonly unknown[]>> | undefined
  readonly denied: Readonly<Record<string, readonly unknown[]>>
  readonly required: readonly string[]
  readonly minWrapSeconds: number
  readonly maxWrapSeconds: number
}

interface StoredPolicy {
  readonly name: string
  readonly text: string
  readonly modifiedMs: number
  readonly version: number
}

/** What is asked of a path. */
interface Access {
  readonly path: string
  readonly capability: Capability
  readonly sudo: boolean
  readonly body: Readonly<Record<string, unknown>>
  readonly wrapSeconds: number | undefined
}

export interface Policies {
  /** @throws VaultError 400 when the text is not a policy */
  put(name: string, text: string): void
  get(name: string): StoredPolicy | undefined
  delete(name: string): void
  names(): readonly string[]
  /** Whether these policies allow it; deny beats allow, and no rule is no. */
  allows(names: readonly string[], access: Access): boolean
  /** Sorted capabilities on a path: `deny` when there are none. */
  capabilities(names: readonly string[], path: string): readonly string[]
}

// Every token may look after itself and unwrap what it was given.
const defaultPolicy = [
  'auth/token/lookup-self',
  'sys/capabilities-self',
  'sys/leases/lookup',
  'sys/leases/renew',
  'sys/renew',
]
  .map((path) => [path, path.endsWith('lookup-self') ? 'read' : 'update'])
  .concat([
    ['auth/token/renew-self', 'update'],
    ['auth/token/revoke-self', 'update'],
    ['sys/wrapping/wrap', 'update'],
    ['sys/wrapping/lookup', 'update'],
    ['sys/wrapping/unwrap', 'update'],
    ['sys/internal/ui/resultant-acl', 'read'],
  ])
  .map(([path, capability]) => `path "${path}" { capabilities = ["${capability}"] }`)
  .concat('path "cubbyhole/*" { capabilities = ["create", "read", "update", "delete", "list"] }')
  .join('\n')

const listOf = (value: HclValue | undefined): readonly HclValue[] => (Array.isArray(value) ? value : [])
const paramsOf = (value: HclValue | undefined): Readonly<Record<string, readonly unknown[]>> | undefined => {
  if (value === undefined || typeof value !== 'object' || Array.isArray(value)) return undefined
  return Object.fromEntries(Object.entries(value).map(([key, list]) => [key.toLowerCase(), listOf(list)]))
}

function ruleFrom(pattern: string, attributes: Readonly<Record<string, HclValue>>): Rule {
  const capabilities = new Set<Capability>()
  for (const item of listOf(attributes.capabilities)) {
    const name = known.find((candidate) => candidate === item)
    if (name === undefined) {
      throw new VaultError(400, `failed to parse policy: path "${pattern}": invalid capability "${String(item)}"`)
    }
    capabilities.add(name)
  }
  if (pattern.includes('+*')) {
    throw new VaultError(400, `failed to parse policy: path "${pattern}": invalid use of wildcards ('+*' is forbidden)`)
  }
  return {
    pattern: pattern.replace(/^\//, ''),
    capabilities,
    allowed: paramsOf(attributes.allowed_parameters),
    denied: paramsOf(attributes.denied_parameters) ?? {},
    required: listOf(attributes.required_parameters).map(String),
    minWrapSeconds: seconds(attributes.min_wrapping_ttl) ?? 0,
    maxWrapSeconds: seconds(attributes.max_wrapping_ttl) ?? 0,
  }
}

function parsePolicy(text: string): readonly Rule[] {
  const trimmed = text.trim()
  if (trimmed.startsWith('{')) {
    let parsed: { path?: Record<string, Record<string, HclValue>> }
    try {
      parsed = JSON.parse(trimmed)
    } catch {
      throw new VaultError(400, 'failed to parse policy: invalid JSON')
    }
    return Object.entries(parsed.path ?? {}).map(([pattern, attributes]) => ruleFrom(pattern, attributes))
  }
  return parseHcl(text)
    .filter((block) => block.name === 'path')
    .map((block) => ruleFrom(block.label, block.attributes))
}

/** `+` is one segment, a last `*` is any rest, even inside a segment. */
function matches(pattern: string, path: string): boolean {
  const open = pattern.endsWith('*')
  const parts = (open ? pattern.slice(0, -1) : pattern).split('/')
  const segments = path.split('/')
  if (open ? segments.length < parts.length : segments.length !== parts.length) return false
  return parts.every((part, index) => {
    const segment = segments[index] ?? ''
    if (part === '+') return true
    return open && index === parts.length - 1 ? segment.startsWith(part) : part === segment
  })
}

const wildcardAt = (pattern: string): number => {
  const at = [pattern.indexOf('+'), pattern.endsWith('*') ? pattern.length - 1 : -1].filter((index) => index >= 0)
  return at.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...at)
}

/** Which of two matching patterns is the more specific, by the order the documentation of Vault gives. */
function moreSpecific(a: string, b: string): number {
  const plus = (pattern: string): number => pattern.split('/').filter((part) => part === '+').length
  return (
    wildcardAt(b) - wildcardAt(a) ||
    Number(a.endsWith('*')) - Number(b.endsWith('*')) ||
    plus(a) - plus(b) ||
    b.length - a.length ||
    (a < b ? 1 : -1)
  )
}

const holds = (list: readonly unknown[] | undefined, value: unknown): boolean =>
  list !== undefined &&
  (list.length === 0 ||
    list.some((item) =>
      typeof item === 'string' && item.endsWith('*')
        ? String(value).startsWith(item.slice(0, -1))
        : JSON.stringify(item) === JSON.stringify(value) || item === String(value),
    ))

function parametersFit(rule: Rule, body: Readonly<Record<string, unknown>>): boolean {
  const given = Object.entries(body).map(([key, value]) => [key.toLowerCase(), value] as const)
  if (rule.required.some((name) => !given.some(([key]) => key === name.toLowerCase()))) return false
  if (given.some(([key, value]) => holds(rule.denied[key], value) || holds(rule.denied['*'], value))) return false
  const { allowed } = rule
  if (allowed === undefined || Object.keys(allowed).length === 0) return true
  return given.every(([key, value]) => holds(allowed[key], value) || (!(key in allowed) && holds(allowed['*'], value)))
}

function merged(rules: readonly Rule[]): Rule | undefined {
  const [first] = rules
  if (first === undefined) return undefined
  const lists = rules.map((rule) => rule.allowed)
  return {
    pattern: first.pattern,
    capabilities: new Set(rules.flatMap((rule) => [...rule.capabilities])),
    // One policy without a list allows every parameter.
    allowed: lists.some((list) => list === undefined) ? undefined : Object.assign({}, ...lists),
    denied: Object.assign({}, ...rules.map((rule) => rule.denied)),
    required: [...new Set(rules.flatMap((rule) => rule.required))],
    minWrapSeconds: Math.min(...rules.map((rule) => rule.minWrapSeconds)),
    maxWrapSeconds: Math.max(...rules.map((rule) => rule.maxWrapSeconds)),
  }
}

function wrappingFits(rule: Rule, wrapSeconds: number | undefined): boolean {
  if (rule.minWrapSeconds === 0 && rule.maxWrapSeconds === 0) return true
  if (wrapSeconds === undefined || wrapSeconds < rule.minWrapSeconds) return false
  return rule.maxWrapSeconds === 0 || wrapSeconds <= rule.maxWrapSeconds
}

/** The ACL policies of the development server, enough to test what a broker is refused. */
export function createPolicies(deps: { now: () => number }): Policies {
  const stored = new Map<string, StoredPolicy & { readonly rules: readonly Rule[] }>()
  const put = (name: string, text: string): void => {
    const rules = parsePolicy(text)
    stored.set(name, { name, text, modifiedMs: deps.now(), version: (stored.get(name)?.version ?? 0) + 1, rules })
  }
  put('default', defaultPolicy)
  put(
    'response-wrapping',
    'path "cubbyhole/response" { capabilities = ["create", "read"] }\npath "sys/wrapping/unwrap" { capabilities = ["update"] }',
  )

  const ruleFor = (names: readonly string[], path: string): Rule | undefined => {
    const fitting = names.flatMap((name) =>
      (stored.get(name)?.rules ?? []).filter((rule) => matches(rule.pattern, path)),
    )
    const best = fitting.map((rule) => rule.pattern).sort(moreSpecific)[0]
    return merged(fitting.filter((rule) => rule.pattern === best))
  }

  return {
    put,
    get: (name) => stored.get(name),
    delete: (name) => void stored.delete(name),
    names: () => [...[...stored.keys()].filter((name) => name !== 'response-wrapping').sort(), 'root'],
    allows(names, access) {
      if (names.includes('root')) return true
      const rule = ruleFor(names, access.path)
      if (rule === undefined || rule.capabilities.has('deny')) return false
      if (!rule.capabilities.has(access.capability)) return false
      if (access.sudo && !rule.capabilities.has('sudo')) return false
      const writes = access.capability !== 'read' && access.capability !== 'list' && access.capability !== 'delete'
      return wrappingFits(rule, access.wrapSeconds) && (!writes || parametersFit(rule, access.body))
    },
    capabilities(names, path) {
      if (names.includes('root')) return ['root']
      const found = ruleFor(names, path)?.capabilities
      return found === undefined || found.size === 0 || found.has('deny') ? ['deny'] : [...found].sort()
    },
  }
}
