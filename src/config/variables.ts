import { nearest } from '../base/nearest.ts'
import type { ConfigProblem } from './config.ts'
import type { Environment } from './environment.ts'
import { listSettings, type Setting } from './settings.ts'

/** Values after the variables have had their say, and which variable each overridden key came from. */
export interface Applied {
  readonly values: Record<string, unknown>
  /** `listen.port` → `WRIT_LISTEN_PORT` */
  readonly origins: ReadonlyMap<string, string>
  readonly problems: readonly ConfigProblem[]
}

/** Variables that override no key of the file: those of client commands, and secrets, which have no place in it. */
const otherVariables = [
  'WRIT_TOKEN',
  'WRIT_TOKEN_FILE',
  'WRIT_TOKEN_FROM',
  'WRIT_ID_TOKEN',
  'WRIT_CONFIG',
  'WRIT_LEDGER_KEY',
  'WRIT_SEAL_KEY',
]

/**
 * Overrides single keys of the file. A `WRIT_…` variable wins over a usual one (`VAULT_ADDR`), and both over the file.
 * Variables hold text: whole numbers, `true` or `false`, and lists as JSON are read where the key takes one.
 */
export function applyVariables(
  fileValues: Readonly<Record<string, unknown>>,
  environment: Environment,
  absolute: (path: string) => string,
): Applied {
  const values = structuredClone(fileValues) as Record<string, unknown>
  const origins = new Map<string, string>()
  const problems: ConfigProblem[] = []
  for (const setting of listSettings()) {
    const found = lookUp(setting, environment)
    if (found === undefined) continue
    const value = coerce(setting, found.text, absolute)
    if (value === undefined) {
      const wanted = wantedText[setting.type] ?? ''
      problems.push({ where: found.name, message: `${setting.path.join('.')}: not ${wanted}`, fix: `write ${wanted}` })
      continue
    }
    if (put(values, setting.path, value)) origins.set(setting.path.join('.'), found.name)
  }
  assumeTokenLogin(values, environment)
  return { values, origins, problems }
}

/** `WRIT_…` variables that look like a slip for a known one. Others are left alone: platforms set some of their own. */
export function misspeltVariables(environment: Environment): string[] {
  const known = [...listSettings().map(({ variable }) => variable), ...otherVariables]
  return Object.keys(environment.writ)
    .filter((name) => !known.includes(name))
    .flatMap((name) => {
      const guess = nearest(name, known)
      return guess === undefined ? [] : [`${name} is not a setting; did you mean ${guess}?`]
    })
}

function lookUp({ variable }: Setting, environment: Environment): { name: string; text: string } | undefined {
  const own = environment.writ[variable]
  if (own !== undefined) return { name: variable, text: own }
  const { address, namespace, caFile } = environment.vault
  const usual = new Map([
    ['WRIT_VAULT_ADDRESS', { name: 'VAULT_ADDR', text: address }],
    ['WRIT_VAULT_NAMESPACE', { name: 'VAULT_NAMESPACE', text: namespace }],
    ['WRIT_VAULT_CA_FILE', { name: 'VAULT_CACERT', text: caFile }],
  ]).get(variable)
  return usual?.text === undefined ? undefined : { name: usual.name, text: usual.text }
}

function coerce({ type }: Setting, text: string, absolute: (path: string) => string): unknown {
  if (type === 'path') return absolute(text)
  if (type === 'integer') return /^\d{1,9}$/.test(text) ? Number(text) : undefined
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : undefined
  if (type === 'list') return listOf(text)
  if (type === 'string or list') return text.startsWith('[') ? listOf(text) : text
  return text
}

const wantedText: Partial<Record<Setting['type'], string>> = {
  integer: 'a whole number',
  boolean: 'true or false',
  list: 'a list in JSON',
  'string or list': 'one text, or a list in JSON',
}

function listOf(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

// False when the file has something else where a mapping should be: the schema will say so.
function put(values: Record<string, unknown>, path: readonly string[], value: unknown): boolean {
  let inner = values
  for (const part of path.slice(0, -1)) {
    if (inner[part] === undefined || inner[part] === null) inner[part] = {}
    const below = inner[part]
    if (typeof below !== 'object' || Array.isArray(below) || below === null) return false
    inner = below as Record<string, unknown>
  }
  inner[path.at(-1) ?? ''] = value
  return true
}

// With VAULT_ADDR and VAULT_TOKEN set, as for Vault's own command, nothing more needs saying.
function assumeTokenLogin(values: Record<string, unknown>, environment: Environment): void {
  values.vault ??= {}
  const vault = values.vault
  if (typeof vault !== 'object' || vault === null || 'auth' in vault) return
  if (environment.vault.token !== undefined) put(values, ['vault', 'auth', 'method'], 'token')
}
