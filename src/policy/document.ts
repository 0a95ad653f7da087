import canonicalize from 'canonicalize'
import { sha256Hex } from '../base/digest.ts'
import { nearest } from '../base/nearest.ts'
import { describeIssues, valueAt } from './issues.ts'
import { type Kind, kindSchemas, type PolicyDocument, schemas } from './schema.ts'
import { type TestFile, testSchema } from './testcase.ts'
import { maxFileBytes, type Place, parseYaml, type YamlDocument, type YamlProblem } from './yaml.ts'

/** One valid document, where it stands in its file, and a digest over what was written (key order does not matter). */
interface ParsedDocument {
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
