import canonicalize from 'canonicalize'
import type { z } from 'zod'
import { sha256Hex } from '../base/digest.ts'
import { nearest } from '../base/nearest.ts'
import { type JsonSchema, type Kind, kindSchemas, type PolicyDocument, schemas } from './schema.ts'
import { type TestFile, testSchema } from './testcase.ts'
import { maxFileBytes, type Place, parseYaml, type YamlDocument, type YamlProblem } from './yaml.ts'

/** One valid document, where it stands in its file, and a digest over what was written (key order does not matter). */
export interface ParsedDocument {
  readonly document: PolicyDocument
  /** Position among the documents of its file, from 0. */
  readonly at: number
  /** SHA-256 over the RFC 8785 form of the document as written. */
  readonly digest: string
}

/** What one file holds. Plain data, so that it can cross from a worker thread. */
export interface ParsedFile {
  readonly documents: readonly ParsedDocument[]
  /** `Kind name` of documents with a problem of their own, so that nobody is told that what they name does not exist. */
  readonly broken: readonly string[]
  readonly problems: readonly YamlProblem[]
}

// More would not be read; the last line says how many there are.
const maxProblemsPerFile = 200

/** Reads the text of a policy file strictly; pure. A document with a problem is not among `documents`. */
export function parsePolicyText(text: string): ParsedFile {
  return parseDocuments(text, (value, yaml, problems) => {
    const kind = kindOf(value)
    if (kind === undefined) {
      problems.push(unknownKind(value, yaml))
      return undefined
    }
    const parsed = kindSchemas[kind].safeParse(value)
    if (parsed.success) return parsed.data
    problems.push(...describeIssues(parsed.error.issues, value, yaml, schemas().get(`${kind.toLowerCase()}.json`)))
    return undefined
  })
}

/** Reads the text of a file of test cases strictly; pure. */
export function parseTestText(text: string): {
  readonly files: readonly TestFile[]
  readonly problems: readonly YamlProblem[]
} {
  const problems: YamlProblem[] = []
  const files: TestFile[] = []
  const yaml = parseYaml(text)
  problems.push(...yaml.problems)
  for (const document of yaml.documents) {
    if (document.value === undefined) continue
    const parsed = testSchema.safeParse(document.value)
    if (parsed.success) files.push(parsed.data)
    else problems.push(...describeIssues(parsed.error.issues, document.value, document, schemas().get('test.json')))
  }
  return { files, problems }
}

function parseDocuments(
  text: string,
  read: (value: unknown, yaml: YamlDocument, problems: YamlProblem[]) => PolicyDocument | undefined,
): ParsedFile {
  if (text.length > maxFileBytes) {
    return {
      documents: [],
      broken: [],
      problems: [{ line: 1, col: 1, message: 'the file is larger than 1 MiB', fix: 'split it' }],
    }
  }
  const yaml = parseYaml(text)
  const problems: YamlProblem[] = [...yaml.problems]
  const documents: ParsedDocument[] = []
  const broken: string[] = []
  yaml.documents.forEach((document, at) => {
    // `undefined`: it has a syntax problem, reported already. `null`: nothing between two separators.
    if (document.value === undefined || document.value === null) return
    const policy = read(document.value, document, problems)
    if (policy !== undefined) documents.push({ document: policy, at, digest: digestOf(document.value) })
    else broken.push(`${valueAt(document.value, ['kind'])} ${valueAt(document.value, ['name'])}`)
  })
  if (problems.length <= maxProblemsPerFile) return { documents, broken, problems }
  const rest = problems.length - maxProblemsPerFile
  const last = { line: 1, col: 1, message: `${rest} more problems in this file`, fix: 'correct the first ones' }
  return { documents, broken, problems: [...problems.slice(0, maxProblemsPerFile), last] }
}

/** A part of a document whose place in the file is wanted: the value at `path`, or that many characters into it. */
export interface PlaceRequest {
  readonly at: number
  readonly path: readonly (string | number)[]
  readonly offset: number
}

/** Where parts of documents stand; the text is one that was parsed before. */
export function placesInText(text: string, requests: readonly PlaceRequest[]): readonly Place[] {
  const { documents } = parseYaml(text)
  return requests.map(({ at, path, offset }) => documents[at]?.place(path, offset) ?? { line: 1, col: 1 })
}

// The file format holds only JSON values, but for numbers that JSON does not have; the schemas refuse those.
const digestOf = (value: unknown): string => sha256Hex(canonicalize(value) ?? '')

function kindOf(value: unknown): Kind | undefined {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return undefined
  const { kind } = value
  return typeof kind === 'string' && Object.hasOwn(kindSchemas, kind) ? (kind as Kind) : undefined
}

function unknownKind(value: unknown, yaml: YamlDocument): YamlProblem {
  const kinds = Object.keys(kindSchemas)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return {
      ...yaml.place([]),
      message: 'a policy document is a map',
      fix: `start it with \`kind:\` and one of ${kinds.join(', ')}`,
    }
  }
  const kind = 'kind' in value ? String(value.kind).slice(0, 60) : undefined
  const guess = kind === undefined ? undefined : nearest(kind, kinds)
  const message = kind === undefined ? '`kind` is missing' : `there is no kind \`${kind}\``
  return {
    ...yaml.place(['kind']),
    message,
    fix: guess === undefined ? `use one of ${kinds.join(', ')}` : `did you mean \`${guess}\`?`,
  }
}

/** Every issue of a failed parse, in words, at the place in the file it is about. */
function describeIssues(
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
          { ...here, message: `${field} is not one of the forms it may have`, fix: optionsText(schema, path, root) },
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

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
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

function optionsText(schema: JsonSchema | undefined, path: readonly PropertyKey[], root: unknown): string {
  return hint(schema, path, root)
}
