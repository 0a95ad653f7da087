import { isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml'
import { ok, type Result } from '../base/result.ts'
import type { ConfigProblem } from './config.ts'
import type { Locate } from './explain.ts'

/** The values of a YAML file, and where each of them is written. */
export interface Parsed {
  readonly values: Record<string, unknown>
  readonly locate: Locate
}

/**
 * Parses one YAML 1.2 document. Duplicate keys, several documents, tabs as indentation, custom tags, and aliases (a few of
 * which can stand for gigabytes) are refused. An empty file is an empty mapping.
 */
export function parseYaml(name: string, content: string): Result<Parsed, readonly ConfigProblem[]> {
  const lines = new LineCounter()
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false, version: '1.2', schema: 'core' })
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${Math.max(1, line)}:${Math.max(1, col)}`
  }
  const problems: ConfigProblem[] = [...document.errors, ...document.warnings].map((error) => ({
    where: at(error.pos[0]),
    message: error.message,
    fix: 'correct the YAML; indent with spaces and write each key once',
  }))
  visit(document, {
    Alias(_, alias) {
      problems.push({
        where: at(alias.range?.[0] ?? 0),
        message: 'aliases are not allowed',
        fix: 'write the value out',
      })
    },
  })
  if (problems.length > 0) return { ok: false, refusal: problems }

  const { contents } = document
  if (contents !== null && !isMap(contents)) {
    const fix = 'start with a key such as url: or vault:'
    if (!isEmpty(contents)) return { ok: false, refusal: [{ where: at(0), message: 'the file is not a mapping', fix }] }
  }
  const values: unknown = isMap(contents) ? document.toJS({ maxAliasCount: 0 }) : {}
  return ok({ values: values as Record<string, unknown>, locate: (path, key) => at(offsetOf(contents, path, key)) })
}

const isEmpty = (node: Node): boolean => 'value' in node && node.value === null

// The innermost part of the path that the file has: the value where it is a plain one, else its key.
function offsetOf(contents: unknown, path: readonly PropertyKey[], key: string | undefined): number {
  let node = contents
  let offset = 0
  for (const part of key === undefined ? path : [...path, key]) {
    if (isSeq(node) && typeof part === 'number') {
      node = node.items[part]
      offset = startOf(node) ?? offset
      continue
    }
    const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && item.key.value === part) : undefined
    if (pair === undefined) break
    offset = startOf(pair.key) ?? offset
    node = pair.value
  }
  return key === undefined && isScalar(node) ? (startOf(node) ?? offset) : offset
}

const startOf = (node: unknown): number | undefined => (isNode(node) ? node.range?.[0] : undefined)
