import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parseDuration } from '../base/duration.ts'
import { ok, type Result } from '../base/result.ts'
import type { Config, ConfigProblem, VaultAuth } from './config.ts'
import type { Environment } from './environment.ts'
import { explain, type Locate } from './explain.ts'
import { type ConfigFile, configSchema, witnessKey } from './schema.ts'
import { applyVariables, misspeltVariables } from './variables.ts'
import { parseYaml } from './yaml.ts'

/** A configuration that can be used, and what its author may want to know. */
export interface LoadedConfig {
  readonly config: Config
  readonly warnings: readonly string[]
}

/**
 * Reads `file` (strict YAML), lets `WRIT_…` and `VAULT_…` variables override single keys, and checks the whole.
 * Without `file`, `./writ.yaml` is read when it is there, and else the variables alone must suffice.
 * All problems are reported at once, each where it was written. Paths in the file are relative to its folder,
 * paths in variables to the working directory.
 */
export function loadConfig(from: {
  readonly file?: string | undefined
  readonly environment: Environment
  readonly workingDirectory?: string
}): Result<LoadedConfig, readonly ConfigProblem[]> {
  const here = from.workingDirectory ?? process.cwd()
  const text = readText(from.file, here)
  if (!text.ok) return text
  const { name, content, folder } = text.value
  const source = parseYaml(name, content)
  if (!source.ok) return source
  const { values, locate } = source.value

  const applied = applyVariables(values, from.environment, (path) => resolve(here, path))
  const parsed = configSchema.safeParse(applied.values)
  const problems = [
    ...applied.problems,
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => explain(issue, applied.origins, locate))),
  ]
  if (!parsed.success || problems.length > 0) return { ok: false, refusal: inOrder(problems) }

  const auth = authOf(parsed.data, from.environment, (path) => resolve(folder, path))
  if (!auth.ok) return { ok: false, refusal: [{ ...auth.refusal, where: locate(['vault', 'auth']) }] }
  const witnesses = witnessesOf(parsed.data, locate, (path) => resolve(folder, path))
  if (!witnesses.ok) return witnesses
  return ok({
    config: complete(parsed.data, { auth: auth.value, witnesses: witnesses.value }, from.environment, (path) =>
      resolve(folder, path),
    ),
    warnings: [...misspeltVariables(from.environment), ...unused(parsed.data)],
  })
}

/** Variables first, then as one reads the file. */
function inOrder(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  const place = ({ where }: ConfigProblem): number => {
    const [, line, column] = /:(\d+):(\d+)$/.exec(where) ?? []
    return line === undefined ? -1 : Number(line) * 1e6 + Number(column)
  }
  return problems.toSorted((one, other) => place(one) - place(other))
}

const greatestFileBytes = 1024 * 1024

function readText(
  file: string | undefined,
  here: string,
): Result<{ name: string; content: string; folder: string }, readonly ConfigProblem[]> {
  const path = resolve(here, file ?? 'writ.yaml')
  const name = file ?? 'writ.yaml'
  try {
    const content = readFileSync(path)
    if (content.length > greatestFileBytes) {
      return problem(name, 'is larger than 1 MiB', 'name the configuration file, not a data file')
    }
    return ok({ name, content: content.toString('utf8'), folder: dirname(path) })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' && file === undefined) return ok({ name, content: '', folder: here })
    const why = new Map<unknown, string>([
      ['ENOENT', 'there is no such file'],
      ['EACCES', 'this user may not read it'],
      ['EISDIR', 'it is a folder'],
    ]).get(code)
    return problem(name, why ?? 'it cannot be read', 'name a readable file with --config, or set WRIT_CONFIG')
  }
}

function problem(where: string, message: string, fix: string): { ok: false; refusal: readonly ConfigProblem[] } {
  return { ok: false, refusal: [{ where, message, fix }] }
}

/** The file with every default filled in, every path absolute and every duration in milliseconds. */
function complete(
  file: ConfigFile,
  checked: { readonly auth: VaultAuth; readonly witnesses: Config['ledger']['witnesses'] },
  environment: Environment,
  absolute: (path: string) => string,
): Config {
  const { listen, vault, ledger, limits, reconcile } = file
  const url = withoutSlash(
    file.url ?? `http${listen.tls === undefined ? '' : 's'}://${reachable(listen.host)}:${listen.port}`,
  )
  return deepFreeze({
    url,
    listen: {
      host: listen.host,
      port: listen.port,
      tls: listen.tls && { cert: absolute(listen.tls.cert), key: absolute(listen.tls.key) },
    },
    policies: absolute(file.policies),
    vault: {
      address: withoutSlash(vault.address),
      namespace: vault.namespace,
      caFile: vault.caFile && absolute(vault.caFile),
      timeoutMs: milliseconds(vault.timeout),
      auth: checked.auth,
    },
    ledger: {
      kind: 'file',
      dir: absolute(ledger.dir),
      origin: ledger.origin ?? `${new URL(url).host}/ledger`,
      key: environment.ledgerKey,
      keyFile: absolute(ledger.keyFile),
      sealKey: environment.sealKey,
      previousKeyFile: ledger.previousKeyFile && absolute(ledger.previousKeyFile),
      anchor: ledger.anchor && absolute(ledger.anchor),
      archive: ledger.archive && absolute(ledger.archive),
      public: ledger.public,
      witnesses: checked.witnesses,
      quorum: ledger.quorum,
      witnessTimeoutMs: milliseconds(ledger.witnessTimeout),
    },
    state: { kind: 'memory' },
    limits: {
      concurrency: limits.concurrency,
      requestTimeoutMs: milliseconds(limits.requestTimeout),
      drainTimeoutMs: milliseconds(limits.drainTimeout),
    },
    reconcile: {
      everyMs: milliseconds(reconcile.every),
      concurrency: reconcile.concurrency,
      perSecond: reconcile.perSecond,
    },
    policyChange: file.policyChange,
    log: file.log,
  })
}

function authOf(
  file: ConfigFile,
  environment: Environment,
  absolute: (path: string) => string,
): Result<VaultAuth, Omit<ConfigProblem, 'where'>> {
  const { auth } = file.vault
  if (auth.method === 'approle') {
    const { mount, roleIdFile, secretIdFile } = auth
    return ok({ method: 'approle', mount, roleIdFile: absolute(roleIdFile), secretIdFile: absolute(secretIdFile) })
  }
  if (auth.method === 'token' && auth.tokenFile !== undefined) {
    return ok({ method: 'token', tokenFile: absolute(auth.tokenFile) })
  }
  if (environment.vault.token !== undefined) return ok({ method: 'token', token: environment.vault.token })
  return {
    ok: false,
    refusal: {
      message: 'vault.auth: the method is token and there is no token',
      fix: 'set VAULT_TOKEN, or name a file with vault.auth.tokenFile',
    },
  }
}

/** The witnesses with their keys, whether these stand in the file or in one beside it. */
function witnessesOf(
  { ledger }: ConfigFile,
  locate: Locate,
  absolute: (path: string) => string,
): Result<Config['ledger']['witnesses'], readonly ConfigProblem[]> {
  const problems: ConfigProblem[] = []
  const witnesses = ledger.witnesses.map(({ name, url, vkey, vkeyFile }, at) => {
    const text = vkey ?? (vkeyFile === undefined ? '' : keyText(absolute(vkeyFile)))
    if (!witnessKey.safeParse(text).success) {
      problems.push({
        where: locate(['ledger', 'witnesses', at]),
        message: `ledger.witnesses.${at}.vkeyFile: it holds no verifier key of a witness`,
        fix: 'name the file that writ witness keygen printed into, or write vkey here',
      })
    }
    return { name: name ?? text.split('+', 1)[0] ?? '', url: withoutSlash(url), vkey: text }
  })
  return problems.length === 0 ? ok(witnesses) : { ok: false, refusal: problems }
}

/** Text of a small file, or nothing when there is none that can be read. */
function keyText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

function unused(file: ConfigFile): string[] {
  return file.redis?.url === undefined ? [] : ['redis.url is set, and nothing in this version uses Redis']
}

// The schema has checked the pattern already; a duration that is none would be a bug here.
function milliseconds(duration: string): number {
  const seconds = parseDuration(duration)
  if (seconds === undefined) throw new TypeError('not a duration')
  return seconds * 1000
}

const withoutSlash = (url: string): string => url.replace(/\/+$/, '')

// Nobody can connect to a wildcard address.
function reachable(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const below of Object.values(value)) deepFreeze(below)
    Object.freeze(value)
  }
  return value
}
