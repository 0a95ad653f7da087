import { dirname, isAbsolute, resolve } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { messageOf } from '../base/errors.ts'
import { createPacer } from '../base/pacer.ts'
import { compile } from './compile.ts'
import { type PolicyFile, readPolicyFiles } from './files.ts'
import { type LinkProblem, link, type SourcedDocument } from './link.ts'
import { createPolicyReader, type PolicyReader } from './policy-reader.ts'
import type { PolicySet, PolicyWarning } from './policy-set.ts'
import type { PolicyDocument } from './schema.ts'

/** Something wrong with a policy file; `file:line:col: message, fix`. */
export interface PolicyProblem extends PolicyWarning {
  readonly severity: 'error' | 'warning'
}

/** The set, or every reason why there is none. */
export type LoadResult =
  | { readonly ok: true; readonly set: PolicySet }
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] }

export interface LoadOptions {
  /** Remembers what files hold from one load to the next; nothing is remembered without it. */
  readonly reader?: PolicyReader
  /** Every review counts as attested at this time or later. Only `writ dev`, so that the examples work in any year. */
  readonly reviewedAtMs?: number
}

// Test cases and generated schemas live in the same folder and are no policies.
const notPolicies: ReadonlySet<string> = new Set(['tests', 'schema'])

/**
 * Reads, checks and compiles every policy below `dir`. All problems are reported at once, in the order of files and lines;
 * warnings do not stop a set and are on it. Gives way to other work all along. Never throws for what a file holds.
 */
export async function loadPolicies(dir: string, options: LoadOptions = {}): Promise<LoadResult> {
  let files: readonly PolicyFile[]
  try {
    files = await readPolicyFiles(dir, notPolicies)
  } catch (error) {
    return {
      ok: false,
      problems: [at(dir, `the folder cannot be read: ${messageOf(error)}`, 'name a folder of policies')],
    }
  }
  const { reader = createPolicyReader(), reviewedAtMs } = options
  try {
    return await loadFiles(dir, files, reader, reviewedAtMs)
  } finally {
    reader.endLoad()
  }
}

/** One problem as a line for people. */
export const problemText = ({ file, line, col, message, fix }: PolicyWarning): string =>
  `${file}:${line}:${col}: ${message}, ${fix}`

const at = (file: string, message: string, fix: string): PolicyProblem => ({
  file,
  line: 1,
  col: 1,
  message,
  fix,
  severity: 'error',
})

async function loadFiles(
  dir: string,
  files: readonly PolicyFile[],
  reader: PolicyReader,
  reviewedAtMs: number | undefined,
): Promise<LoadResult> {
  const pace = createPacer()
  const problems: PolicyProblem[] = []
  const documents: SourcedDocument[] = []
  const digests: string[] = []
  const parsed = await reader.parse(files.map(({ text }) => text))
  for (const [index, file] of files.entries()) {
    if (file.problem !== undefined) problems.push(at(file.name, file.problem.message, file.problem.fix))
    for (const problem of parsed[index]?.problems ?? [])
      problems.push({ file: file.name, ...problem, severity: 'error' })
    for (const { document, at: position, digest } of parsed[index]?.documents ?? []) {
      digests.push(digest)
      documents.push({ source: { file: file.name, at: position }, document: withAbsolutePaths(document, file.path) })
    }
    await pace()
  }
  const { problems: found, linked } = await link(documents, new Set(parsed.flatMap(({ broken }) => broken)), pace)
  problems.push(...(await placed(found, files, reader)))
  if (documents.length === 0 && problems.length === 0)
    problems.push(at(dir, 'there are no policies here', 'add an Issuer'))
  problems.sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line || a.col - b.col))
  if (problems.some(({ severity }) => severity === 'error')) return { ok: false, problems }
  const warnings = problems.map(({ severity: _, ...warning }) => warning)
  const digest = sha256Hex(digests.sort().join('\n'))
  return { ok: true, set: await compile({ ...linked, digest, warnings }, reviewedAtMs) }
}

/** A key file is named relative to the document that names it; the rest of the broker must not need to know where that is. */
function withAbsolutePaths(document: PolicyDocument, path: string): PolicyDocument {
  if (document.kind !== 'Issuer' || !('jwks_file' in document.keys)) return document
  const { jwks_file } = document.keys
  return { ...document, keys: { jwks_file: isAbsolute(jwks_file) ? jwks_file : resolve(dirname(path), jwks_file) } }
}

/** Works out lines and columns: the text of a file is read once more, and only when there is something to say about it. */
async function placed(
  problems: readonly LinkProblem[],
  files: readonly PolicyFile[],
  reader: PolicyReader,
): Promise<PolicyProblem[]> {
  const texts = new Map(files.map(({ name, text }) => [name, text]))
  const byFile = [...Map.groupBy(problems, ({ source }) => source.file)]
  const places = await reader.places(
    byFile.map(([file, list]) => ({
      text: texts.get(file) ?? '',
      requests: list.map(({ source, path, offset }) => ({ at: source.at, path, offset })),
    })),
  )
  return byFile.flatMap(([file, list], at) =>
    list.map(({ severity, message, fix }, index): PolicyProblem => {
      const { line, col } = places[at]?.[index] ?? { line: 1, col: 1 }
      return { file, line, col, message, fix, severity }
    }),
  )
}
