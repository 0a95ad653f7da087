import fc from 'fast-check'
import { z } from 'zod'
import { type Entry, entrySchema } from '../../src/ledger/entry.ts'

/** The parts of the generated JSON Schema of entries that are looked at. */
export interface EntryNode {
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly string[]
  readonly pattern?: string
  readonly format?: string
  readonly maxLength?: number
  readonly maxItems?: number
  readonly items?: EntryNode
  readonly oneOf?: readonly EntryNode[]
  readonly properties?: Readonly<Record<string, EntryNode>>
  readonly required?: readonly string[]
}

/** What the schema of entries says of each kind, so that tests know every field without a list of their own. */
const kindNodes: readonly EntryNode[] = (z.toJSONSchema(entrySchema) as EntryNode).oneOf ?? []

/** Each field that is not an object or a list itself: its kind, its path (`rules[].detail`), and what the schema says of it. */
export function* entryFields(): Generator<{ readonly kind: string; readonly path: string; readonly node: EntryNode }> {
  for (const node of kindNodes) {
    const kind = String(node.properties?.kind?.const)
    for (const [path, leaf] of leavesOf(node, '')) yield { kind, path, node: leaf }
  }
}

function* leavesOf(node: EntryNode, path: string): Generator<[string, EntryNode]> {
  if (node.oneOf !== undefined) for (const option of node.oneOf) yield* leavesOf(option, path)
  else if (node.items !== undefined) yield* leavesOf(node.items, `${path}[]`)
  else if (node.properties !== undefined) {
    for (const [name, inner] of Object.entries(node.properties)) {
      yield* leavesOf(inner, path === '' ? name : `${path}.${name}`)
    }
  } else yield [path, node]
}

/** Free text: what stands in such a field is whatever somebody wrote. */
export const isFreeText = ({ type, pattern, format, enum: values, const: only }: EntryNode): boolean =>
  type === 'string' && pattern === undefined && format === undefined && values === undefined && only === undefined

/** Any entry that the schema takes, of any kind, with any of its optional fields. */
export const anyEntry: fc.Arbitrary<Entry> = fc
  .oneof(...kindNodes.map(arbitraryOf))
  .map((value) => entrySchema.parse(value))

/** An entry of each kind that has every field it may have. Texts are unlike one another. */
export function fullEntries(): readonly Entry[] {
  let count = 0
  const full = (node: EntryNode): unknown => {
    if (node.const !== undefined) return node.const
    if (node.enum !== undefined) return node.enum[0]
    if (node.oneOf !== undefined) return full(node.oneOf[1] ?? {})
    if (node.items !== undefined) return [full(node.items), full(node.items)]
    if (node.properties !== undefined) {
      return Object.fromEntries(Object.entries(node.properties).map(([name, inner]) => [name, full(inner)]))
    }
    if (node.type === 'boolean') return true
    if (node.type !== 'string') return ++count
    if (node.format === 'date-time') return new Date(Date.UTC(2026, 10, 22, 12, 0, ++count)).toISOString()
    if (node.pattern !== undefined) return String(++count).padStart(Number(/\{(\d+)\}/.exec(node.pattern)?.[1]), '0')
    return `sample ${++count}`
  }
  return kindNodes.map((node) => entrySchema.parse(full(node)))
}

function arbitraryOf(node: EntryNode): fc.Arbitrary<unknown> {
  if (node.const !== undefined) return fc.constant(node.const)
  if (node.enum !== undefined) return fc.constantFrom(...node.enum)
  if (node.oneOf !== undefined) return fc.oneof(...node.oneOf.map(arbitraryOf))
  if (node.items !== undefined) return fc.array(arbitraryOf(node.items), { maxLength: Math.min(node.maxItems ?? 3, 3) })
  if (node.properties !== undefined) {
    const fields: Record<string, fc.Arbitrary<unknown>> = {}
    for (const [name, inner] of Object.entries(node.properties)) fields[name] = arbitraryOf(inner)
    return fc.record(fields, { requiredKeys: [...(node.required ?? [])] })
  }
  if (node.type === 'boolean') return fc.boolean()
  if (node.type !== 'string') return fc.nat()
  if (node.format === 'date-time') {
    const [min, max] = [new Date(0), new Date(Date.UTC(2100, 0))]
    return fc.date({ min, max, noInvalidDate: true }).map((date) => date.toISOString())
  }
  if (node.pattern !== undefined) {
    const length = Number(/\{(\d+)\}/.exec(node.pattern)?.[1])
    return fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })
  }
  return fc.string({ unit: 'binary', maxLength: Math.min(node.maxLength ?? 20, 20) })
}
