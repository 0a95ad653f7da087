import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../base/errors.ts'
import { ok, type Result } from '../base/result.ts'
import { parseYaml } from '../config/yaml.ts'
import { parseVkey, type VerifierKey } from '../ledger/log/note.ts'

/** What a witness was told; every path is absolute. */
export interface WitnessConfig {
  readonly listen: {
    readonly host: string
    readonly port: number
    readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined
  }
  /** Folder of what it has cosigned. */
  readonly data: string
  /** Its private key. */
  readonly keyFile: string
  /** The keys each log may sign with, by origin. */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>
}

const path = z.string().min(1).max(4096)

const logKey = z
  .string()
  .max(1024)
  .transform((text, context) => {
    try {
      return parseVkey(text)
    } catch (error) {
      context.addIssue({ code: 'custom', message: messageOf(error) })
      return z.NEVER
    }
  })

/** The file as an operator writes it; strict, as `writ.yaml` is. Documented in docs/witness.md. */
const schema = z.strictObject({
  listen: z
    .strictObject({
      host: z.string().min(1).max(255).default('127.0.0.1'),
      port: z.int().min(0).max(65_535).default(8789),
      tls: z.strictObject({ cert: path, key: path }).optional(),
    })
    .prefault({}),
  data: path,
  keyFile: path,
  logs: z
    .array(z.strictObject({ origin: z.string().min(1).max(1024).optional(), vkey: logKey }))
    .min(1)
    .max(1000),
})

/**
 * Reads the configuration of a witness: strict YAML, paths relative to its folder. All problems are reported at once, each as
 * `file:line:col: message`.
 */
export function loadWitnessConfig(file: string): Result<WitnessConfig, readonly string[]> {
  let content: string
  try {
    content = readFileSync(file, 'utf8')
  } catch (error) {
    return { ok: false, refusal: [`${file}: it cannot be read (${messageOf(error)})`] }
  }
  const source = parseYaml(file, content)
  if (!source.ok) return { ok: false, refusal: source.refusal.map(({ where, message }) => `${where}: ${message}`) }
  const { values, locate } = source.value
  const parsed = schema.safeParse(values)
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => {
      const key = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
      return `${locate(issue.path, key)}: ${issue.path.join('.') || 'the file'}: ${issue.message}`
    })
    return { ok: false, refusal: problems }
  }
  const absolute = (name: string): string => resolve(dirname(file), name)
  const { listen, data, keyFile, logs } = parsed.data
  const byOrigin = Map.groupBy(logs, ({ origin, vkey }) => origin ?? vkey.name)
  return ok({
    listen: {
      host: listen.host,
      port: listen.port,
      tls: listen.tls && { certFile: absolute(listen.tls.cert), keyFile: absolute(listen.tls.key) },
    },
    data: absolute(data),
    keyFile: absolute(keyFile),
    logs: new Map([...byOrigin].map(([origin, those]) => [origin, those.map(({ vkey }) => vkey)])),
  })
}
