import type { ASTNode } from '@marcbachmann/cel-js'

/** What is wrong with an expression: where in its text, and what to do. */
export interface ConditionProblem {
  readonly offset: number
  readonly message: string
  readonly fix: string
}

// A token has at most this many members (identity checks it), so no list or map in `claims` is longer.
const maxMembers = 512

const comprehensions: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'map', 'filter'])
/** Functions whose cost grows with the text they are given; a claim's text is at most 16 KiB. */
const textFunctions: ReadonlySet<string> = new Set([
  'startsWith',
  'endsWith',
  'contains',
  'lowerAscii',
  'upperAscii',
  'trim',
])
// Everything else of the library is left out: no regular expressions, nothing that builds longer lists or texts.
const allowedFunctions: ReadonlySet<string> = new Set([
  ...comprehensions,
  ...textFunctions,
  ...['has', 'size', 'int', 'uint', 'double', 'string', 'bool', 'timestamp', 'duration', 'dyn', 'type'],
  ...['getFullYear', 'getMonth', 'getDate', 'getDayOfMonth', 'getDayOfWeek', 'getDayOfYear'],
  ...['getHours', 'getMinutes', 'getSeconds', 'getMilliseconds'],
])

/** Child nodes, whatever the operator. */
export function childrenOf(node: ASTNode): readonly ASTNode[] {
  const found: ASTNode[] = []
  const collect = (value: unknown): void => {
    if (Array.isArray(value)) for (const item of value) collect(item)
    else if (typeof value === 'object' && value !== null && 'op' in value && 'args' in value)
      found.push(value as ASTNode)
  }
  collect(node.args)
  return found
}

const calledName = (node: ASTNode): string | undefined =>
  node.op === 'call' || node.op === 'rcall' ? node.args[0] : undefined

/** The first thing in an expression that policies may not use: a function not listed, or a loop within a loop. */
export function firstRefusal(node: ASTNode, nesting = 0): ConditionProblem | undefined {
  const name = calledName(node)
  if (name !== undefined && !allowedFunctions.has(name)) {
    const fix = name === 'matches' ? 'use ==, startsWith, endsWith or contains' : 'use another function'
    const message =
      name === 'matches'
        ? 'regular expressions are not allowed'
        : `the function \`${name}\` is not available in policies`
    return { offset: node.start, message, fix }
  }
  const loops = node.op === 'rcall' && comprehensions.has(node.args[0])
  if (loops && nesting > 0) {
    return {
      offset: node.start,
      message: 'one loop inside another',
      fix: 'use one all, exists, map or filter at a time',
    }
  }
  for (const child of childrenOf(node)) {
    // What a loop runs over is evaluated once, outside it.
    const inside = loops && node.op === 'rcall' && child !== node.args[1]
    const problem = firstRefusal(child, nesting + (inside ? 1 : 0))
    if (problem !== undefined) return problem
  }
  return undefined
}

const joinsOf = (node: ASTNode): number =>
  childrenOf(node).reduce((sum, child) => sum + joinsOf(child) - 1, node.op === '+' ? 2 : 1)

/** An upper bound on the steps of one evaluation. */
export function costOf(node: ASTNode): number {
  const own = childrenOf(node)
  const sum = (nodes: readonly ASTNode[]): number => nodes.reduce((total, child) => total + costOf(child), 0)
  if (node.op === 'rcall' && comprehensions.has(node.args[0])) {
    const receiver = node.args[1]
    // Lists can be joined with +, so what is run over may be as long as all its parts together.
    const length = receiver.op === 'list' ? receiver.args.length : maxMembers * joinsOf(receiver)
    return 1 + costOf(receiver) + length * sum(own.filter((child) => child !== receiver))
  }
  if (node.op === 'in') return 1 + sum(own) + (node.args[1].op === 'list' ? node.args[1].args.length : maxMembers)
  const name = calledName(node)
  return (name !== undefined && textFunctions.has(name) ? 20 : 1) + sum(own)
}
