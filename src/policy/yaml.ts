import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type YAMLMap } from 'yaml'
import { messageOf } from '../base/errors.ts'

/** A place in a file; both count from 1. */
export interface Place {
  readonly line: number
  readonly col: number
}

/** What is wrong at a place, and what to do about it. */
export interface YamlProblem extends Place {
  readonly message: string
  readonly fix: string
}

/** One document of a file: its value, and where each part of it stands. */
export interface YamlDocument {
  readonly value: unknown
  /** Where the value at `path` starts; the nearest part around it when it is missing. */
  place(path: readonly PropertyKey[], offset?: number): Place
  /** Where the key `key` of the map at `path` stands. */
  placeOfKey(path: readonly PropertyKey[], key: string): Place
}

/** Greatest size of a policy file: nobody reviews more than this in one diff. */
export const maxFileBytes = 1024 * 1024
const maxDepth = 32
const shortText = 16 * 1024
const ownTags: ReadonlySet<string> = new Set(['tag:yaml.org,2002:map', 'tag:yaml.org,2002:seq'])

const fixes: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'indent with spaces',
  BAD_INDENT: 'line the keys of one map up, and close every bracket',
  MULTILINE_IMPLICIT_KEY: 'check the indentation, or quote the text',
  BAD_ALIAS: 'write the value out; aliases are not read',
}

/**
 * Reads YAML 1.2 (core schema) as data and nothing more: no anchors, aliases, tags, merge keys, repeated keys, keys that
 * are not text, or tabs for indentation, and at most 32 levels. Every problem of the file is reported, not the first only.
 */
export function parseYaml(text: string): {
  readonly documents: readonly YamlDocument[]
  readonly problems: readonly YamlProblem[]
} {
  const lines = new LineCounter()
  const problems: YamlProblem[] = []
  const report = (offset: number, message: string, fix: string): void => {
    problems.push({ ...placeAt(lines, offset), message, fix })
  }
  const parsed = parse(text, lines, report)
  const documents: YamlDocument[] = []
  for (const document of parsed) {
    // Custom tags arrive as warnings; the walk below refuses every tag with a clearer text. After a mistake in the syntax
    // the rest is misread, so the first one is all there is to say.
    const [mistake] = document.errors
    if (mistake !== undefined) report(mistake.pos[0], ...describe(mistake))
    if (document.directives.yaml.version !== '1.2')
      report(0, 'YAML 1.2 is read, not another version', 'remove the %YAML line')
    const before = problems.length
    if (document.contents !== null && mistake === undefined) walk(document.contents, 1, report)
    // An alias cannot be turned into a value, so a document that holds one has none.
    const value =
      problems.length > before || document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 0 })
    documents.push(locatable(document, value, lines))
  }
  return { documents, problems }
}

function describe({ code, message }: { readonly code: string; readonly message: string }): [string, string] {
  // Thrown inside the library, which then gives up on the document.
  if (message.includes('call stack')) return [`nested deeper than ${maxDepth} levels`, 'flatten it']
  return [message, fixes[code] ?? 'correct the YAML syntax']
}

type Report = (offset: number, message: string, fix: string) => void

function parse(text: string, lines: LineCounter, report: Report): readonly Document.Parsed[] {
  if (text.length > shortText && deepestBrackets(text) > 4 * maxDepth) {
    report(0, `the file nests deeper than ${maxDepth} levels`, 'flatten it')
    return []
  }
  try {
    const parsed = parseAllDocuments(text, {
      version: '1.2',
      schema: 'core',
      strict: true,
      stringKeys: false,
      merge: false,
      // Checked in the walk with a set: the library compares every pair of keys.
      uniqueKeys: false,
      lineCounter: lines,
      prettyErrors: false,
      logLevel: 'silent',
    })
    return Array.isArray(parsed) ? parsed : []
  } catch (error) {
    report(0, `the file cannot be read as YAML: ${messageOf(error).slice(0, 200)}`, 'correct the YAML syntax')
    return []
  }
}

// The parser recurses, and in a short text it fails quickly; in a long one a look at brackets and dashes keeps nesting away from it.
function deepestBrackets(text: string): number {
  let depth = 0
  let deepest = 0
  let dashes = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x5b || code === 0x7b) depth++
    else if ((code === 0x5d || code === 0x7d) && depth > 0) depth--
    if (code === 0x2d || code === 0x3f) dashes++
    else if (code !== 0x20) dashes = 0
    if (code === 0x0a) dashes = 0
    deepest = Math.max(deepest, depth, text.charCodeAt(i + 1) === 0x20 ? dashes : 0)
  }
  return deepest
}

function walk(node: unknown, depth: number, report: Report): void {
  if (isAlias(node)) report(startOf(node), 'aliases are not read', 'write the value out')
  if (!isMap(node) && !isSeq(node) && !isScalar(node)) return
  if (node.anchor !== undefined) report(startOf(node), 'anchors are not read', `remove &${node.anchor}`)
  // The composer gives collections a tag of its own accord; only what the text says counts.
  if (node.tag !== undefined && !ownTags.has(node.tag)) report(startOf(node), 'tags are not read', `remove ${node.tag}`)
  if (isScalar(node)) return
  if (depth > maxDepth) report(startOf(node), `nested deeper than ${maxDepth} levels`, 'flatten it')
  else if (isSeq(node)) for (const item of node.items) walk(item, depth + 1, report)
  else walkMap(node, depth, report)
}

function walkMap(map: YAMLMap, depth: number, report: Report): void {
  const seen = new Set<string>()
  for (const { key, value } of map.items) {
    if (!isScalar(key) || typeof key.value !== 'string') report(startOf(key), 'a key must be text', 'quote the key')
    else if (seen.has(key.value)) report(startOf(key), `the key \`${key.value}\` is given twice`, 'keep one of them')
    else if (key.value === '__proto__') report(startOf(key), 'this key is not allowed', 'remove it')
    else seen.add(key.value)
    walk(key, depth + 1, report)
    walk(value, depth + 1, report)
  }
}

const startOf = (node: unknown): number => (node as { range?: readonly number[] | null } | null)?.range?.[0] ?? 0

function placeAt(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset)
  return line === 0 ? { line: 1, col: 1 } : { line, col }
}

function locatable(document: Document.Parsed, value: unknown, lines: LineCounter): YamlDocument {
  const find = (path: readonly PropertyKey[]): { node: unknown; found: boolean } => {
    let node: unknown = document.contents
    for (const step of path) {
      const next = child(node, step)
      if (next === undefined) return { node, found: false }
      node = next
    }
    return { node, found: true }
  }
  return {
    value,
    place(path, offset = 0) {
      const { node, found } = find(path)
      // A block scalar's text is not where its node starts; pointing at the node is right for every style.
      const inLine = found && isScalar(node) && (node.type === 'PLAIN' || node.type?.startsWith('QUOTE'))
      const quote = inLine && isScalar(node) && node.type !== 'PLAIN' ? 1 : 0
      const start = startOf(node) || startOf(document.contents) || document.range[0]
      return placeAt(lines, start + (inLine && offset > 0 ? offset + quote : 0))
    },
    placeOfKey(path, key) {
      const { node } = find(path)
      const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && item.key.value === key) : undefined
      return placeAt(lines, pair === undefined ? startOf(node) : startOf(pair.key))
    },
  }
}

function child(node: unknown, step: PropertyKey): unknown {
  if (isSeq(node)) return node.items[Number(step)]
  if (!isMap(node)) return undefined
  const pair = node.items.find((item) => isScalar(item.key) && item.key.value === step)
  return pair?.value ?? undefined
}
