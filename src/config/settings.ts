import { z } from 'zod'
import { configSchema } from './schema.ts'

/** One key of `writ.yaml` that holds a value, and the variable that overrides it. */
export interface Setting {
  /** `['listen', 'port']` */
  readonly path: readonly string[]
  /** `WRIT_LISTEN_PORT` */
  readonly variable: string
  readonly type: 'string' | 'integer' | 'boolean' | 'path' | 'list' | 'string or list'
  /** The values it may take, when they are a list. */
  readonly values: readonly string[] | undefined
  readonly defaultText: string | undefined
  readonly description: string
}

// The parts of a generated JSON Schema that are looked at.
interface Node {
  readonly type?: string
  readonly format?: string
  readonly properties?: Readonly<Record<string, Node>>
  readonly oneOf?: readonly Node[]
  readonly anyOf?: readonly Node[]
  readonly enum?: readonly string[]
  readonly const?: string
  readonly default?: unknown
  readonly description?: string
}

/** Every key that holds a value, in the order of the file, read from the schema so that the two cannot disagree. */
export function listSettings(): readonly Setting[] {
  return leaves(z.toJSONSchema(configSchema, { io: 'input' }) as Node, [])
}

/** `['vault', 'auth', 'roleIdFile']` is overridden by `WRIT_VAULT_AUTH_ROLE_ID_FILE`. */
export function variableOf(path: readonly string[]): string {
  return ['WRIT', ...path.map((part) => part.replace(/[A-Z]/g, '_$&'))].join('_').toUpperCase()
}

function leaves(node: Node, path: readonly string[]): Setting[] {
  if (node.oneOf !== undefined) return alternatives(node.oneOf, path)
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([name, below]) => leaves(below, [...path, name]))
  }
  return [
    {
      path,
      variable: variableOf(path),
      type: typeOf(node),
      values: node.enum ?? (node.const === undefined ? undefined : [node.const]),
      defaultText: textOf(node.default),
      description: node.description ?? '',
    },
  ]
}

const textOf = (value: unknown): string | undefined =>
  typeof value === 'object' ? JSON.stringify(value) : value === undefined ? undefined : String(value)

function typeOf(node: Node): Setting['type'] {
  if (node.format === 'path') return 'path'
  if (node.anyOf !== undefined) return 'string or list'
  if (node.type === 'array') return 'list'
  return node.type === 'integer' || node.type === 'boolean' ? node.type : 'string'
}

// The alternatives of a union share their discriminator: one setting with the values of all.
function alternatives(nodes: readonly Node[], path: readonly string[]): Setting[] {
  const merged = new Map<string, Setting>()
  for (const setting of nodes.flatMap((node) => leaves(node, path))) {
    const before = merged.get(setting.variable)
    const values = [...(before?.values ?? []), ...(setting.values ?? [])]
    merged.set(setting.variable, {
      ...(before ?? setting),
      values: values.length === 0 ? undefined : values,
      description: before?.description || setting.description,
    })
  }
  return [...merged.values()]
}
