import type { z } from 'zod'
import { nearest } from '../base/nearest.ts'
import type { JsonSchema } from './schema.ts'
import type { YamlDocument, YamlProblem } from './yaml.ts'

/** Every issue of a failed parse, in words, at the place in the file it is about. */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  value: unknown,
  yaml: YamlDocument,
  schema: JsonSchema | undefined,
): YamlProblem[] {
  return issues.flatMap((issue) => describeIssue(issue, [], value, yaml, schema))
}

function describeIssue(
  issue: z.core.$ZodIssue,
  base: readonly PropertyKey[],
  root: unknown,
  yaml: YamlDocument,
  schema: JsonSchema | undefined,
): YamlProblem[] {
  const path = [...base, ...issue.path]
  const field = path.length === 0 ? 'the document' : `\`${path.map(String).join('.')}\``
  const found = valueAt(root, path)
  const here = yaml.place(path)
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, path, root, yaml, schema))
    case 'invalid_union':
      return (
        bestBranch(issue, path, root, yaml, schema) ?? [
          { ...here, message: `${field} is not one of the forms it may have`, fix: hint(schema, path, root) },
        ]
      )
    case 'invalid_type':
      return found === undefined
        ? [
            {
              ...here,
              message: `${field} is missing`,
              fix: `add ${String(path.at(-1) ?? 'it')}: ${hint(schema, path, root)}`,
            },
          ]
        : [
            {
              ...here,
              message: `${field} must be ${article(issue.expected)}, not ${article(typeName(found))}`,
              fix: hint(schema, path, root),
            },
          ]
    case 'invalid_value':
      return found === undefined
        ? [{ ...here, message: `${field} is missing`, fix: `use one of ${issue.values.map(String).join(', ')}` }]
        : [{ ...here, message: `${field} cannot be ${quoted(found)}`, fix: guessText(found, issue.values.map(String)) }]
    case 'invalid_format':
      return [{ ...here, message: `${field} cannot be ${quoted(found)}`, fix: `write ${issue.message}` }]
    case 'invalid_key':
      return [
        {
          ...yaml.placeOfKey(path.slice(0, -1), String(path.at(-1))),
          message: `the key ${field} is not allowed`,
          fix: `write ${issue.issues.map((inner) => inner.message).join(', ')}`,
        },
      ]
    case 'too_big':
    case 'too_small':
      return [
        {
          ...here,
          message: `${field} is ${issue.code === 'too_big' ? 'too large' : 'too small'}: ${issue.message}`,
          fix: `keep it ${issue.code === 'too_big' ? `to at most ${issue.maximum}` : `to at least ${issue.minimum}`}`,
        },
      ]
    default:
      return [{ ...here, message: `${field} cannot be ${quoted(found)}`, fix: `write ${issue.message}` }]
  }
}

function unknownKey(
  key: string,
  path: readonly PropertyKey[],
  root: unknown,
  yaml: YamlDocument,
  schema: JsonSchema | undefined,
): YamlProblem {
  const known = keysAt(schema, path, root)
  const guess = nearest(key, known)
  const fix =
    guess !== undefined
      ? `did you mean \`${guess}\`?`
      : known.length > 0
        ? `use one of ${known.join(', ')}`
        : 'remove it'
  return { ...yaml.placeOfKey(path, key), message: `unknown key \`${key.slice(0, 100)}\``, fix }
}

// Of the forms a value may have, the one that got furthest is the one its author meant.
function bestBranch(
  issue: z.core.$ZodIssueInvalidUnion,
  path: readonly PropertyKey[],
  root: unknown,
  yaml: YamlDocument,
  schema: JsonSchema | undefined,
): YamlProblem[] | undefined {
  const depth = (branch: readonly z.core.$ZodIssue[]): number =>
    Math.max(
      0,
      ...branch.map(
        (inner) => inner.path.length + (inner.code === 'unrecognized_keys' || inner.code === 'invalid_format' ? 1 : 0),
      ),
    )
  const best = [...issue.errors].sort((a, b) => depth(b) - depth(a) || a.length - b.length)[0]
  if (best === undefined || depth(best) === 0) return undefined
  return best.flatMap((inner) => describeIssue(inner, path, root, yaml, schema))
}

/** The value at a path; `undefined` where there is none. */
export function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as Record<PropertyKey, unknown>)[step]
  }
  return value
}

const typeName = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value)
const words: Readonly<Record<string, string>> = {
  object: 'map',
  record: 'map',
  array: 'list',
  string: 'text',
  int: 'whole number',
}
function article(type: string): string {
  const word = words[type] ?? type
  return word === 'text' || word === 'null' ? word : `a ${word}`
}

function quoted(value: unknown): string {
  if (value === null || typeof value !== 'object') return `\`${String(value).slice(0, 80)}\``
  return article(typeName(value))
}

function guessText(found: unknown, values: readonly string[]): string {
  const guess = typeof found === 'string' ? nearest(found, values) : undefined
  return guess === undefined ? `use one of ${values.join(', ')}` : `did you mean \`${guess}\`?`
}

const asSchema = (value: unknown): JsonSchema | undefined =>
  typeof value === 'object' && value !== null ? (value as JsonSchema) : undefined

// Follows a path through a JSON Schema, choosing the branch of a union whose constants fit the document.
function schemaAt(
  schema: JsonSchema | undefined,
  path: readonly PropertyKey[],
  value: unknown,
): JsonSchema | undefined {
  const here = resolveUnion(schema, value)
  const [step, ...rest] = path
  if (step === undefined || here === undefined) return here
  const next =
    typeof step === 'number'
      ? asSchema(here.items)
      : (asSchema(asSchema(here.properties)?.[String(step)]) ?? asSchema(here.additionalProperties))
  return schemaAt(next, rest, valueAt(value, [step]))
}

function resolveUnion(schema: JsonSchema | undefined, value: unknown): JsonSchema | undefined {
  const branches = schema?.oneOf ?? schema?.anyOf
  if (!Array.isArray(branches)) return schema
  const fits = branches.find((branch) => {
    const properties = Object.entries(asSchema(asSchema(branch)?.properties) ?? {})
    const constants = properties.filter(([, property]) => asSchema(property)?.const !== undefined)
    return (
      constants.length > 0 && constants.every(([key, property]) => valueAt(value, [key]) === asSchema(property)?.const)
    )
  })
  return asSchema(fits) ?? schema
}

const keysAt = (schema: JsonSchema | undefined, path: readonly PropertyKey[], root: unknown): string[] =>
  Object.keys(asSchema(schemaAt(schema, path, root)?.properties) ?? {})

function hint(schema: JsonSchema | undefined, path: readonly PropertyKey[], root: unknown): string {
  const at = schemaAt(schema, path, root)
  if (Array.isArray(at?.enum)) return `one of ${at.enum.join(', ')}`
  const example = Array.isArray(at?.examples) ? `such as ${at.examples[0]}: ` : ''
  return typeof at?.description === 'string' ? `${example}${at.description}` : 'see policies/schema'
}
