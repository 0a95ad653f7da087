import { type ASTNode, Environment, type ParseResult } from '@marcbachmann/cel-js'
import type { Claims } from '../identity/identity.ts'

/** What is wrong with an expression: where in its text, and what to do. */
export interface ConditionProblem {
  readonly offset: number
  readonly message: string
  readonly fix: string
}

/** Values an expression sees; see `conditionContext`. */
export interface ConditionContext {
  readonly claims: Claims
  readonly issuer: CelIssuer
  readonly workload: CelWorkload
  readonly purpose: CelPurpose
  readonly credential: CelCredential
  readonly request: CelRequest
  readonly now: Date
}

/** What an expression came to. `undecided` holds why: a claim that is missing or has another type than the rule expects. */
export type Verdict = { readonly value: boolean } | { readonly undecided: string }

/** A compiled, type-checked, cost-bounded CEL expression. Never throws, never waits. */
export interface Condition {
  readonly text: string
  evaluate(context: ConditionContext): Verdict
  /** The operands of the outermost `&&`, in order: what `explain` shows one by one. */
  parts(): readonly Condition[]
  /** Each thing the expression looks at (`claims.ref`, `request.reason`), with the value it has. */
  operands(context: ConditionContext): readonly { readonly text: string; readonly value: string }[]
}

// Classes, because cel-js tells declared types apart by constructor; a misspelt field is then an error at load.
export class CelIssuer {
  name = ''
  url = ''
  flavour = ''
}
export class CelWorkload {
  name = ''
  type = ''
  system = ''
  owner = ''
  backup = ''
  custodian = ''
  status = ''
}
export class CelPurpose {
  id = ''
  because = ''
  environment = ''
  approval = ''
  renewable = false
}
export class CelCredential {
  name = ''
  engine = ''
  mount = ''
  role = ''
  environment = ''
  sensitivity = ''
  data: readonly string[] = []
  static = false
}
export class CelRequest {
  reason = ''
  ttl = 0n
  task = ''
  params: Readonly<Record<string, string>> = {}
  delivery = ''
  ip = ''
}

const maxCharacters = 4096
// One unit is one step of the evaluator, some 50 ns: an expression at the limit takes about 15 ms.
const maxCost = 300_000
// A token has at most this many members (identity checks it), so no list or map in `claims` is longer.
const maxMembers = 512

const declared = 'the names are claims, issuer, workload, purpose, credential, request and now; see policies/README.md'
const comparable = 'compare values of one type: text with text, request.ttl with a whole number of seconds'

const text = 'string'
const environment = new Environment({
  limits: { maxAstNodes: 256, maxDepth: 32, maxListElements: 128, maxMapEntries: 64, maxCallArguments: 8 },
})
  .registerType('Issuer', { ctor: CelIssuer, fields: { name: text, url: text, flavour: text } })
  .registerType('Workload', {
    ctor: CelWorkload,
    fields: { name: text, type: text, system: text, owner: text, backup: text, custodian: text, status: text },
  })
  .registerType('Purpose', {
    ctor: CelPurpose,
    fields: { id: text, because: text, environment: text, approval: text, renewable: 'bool' },
  })
  .registerType('Credential', {
    ctor: CelCredential,
    fields: {
      name: text,
      engine: text,
      mount: text,
      role: text,
      environment: text,
      sensitivity: text,
      data: 'list<string>',
      static: 'bool',
    },
  })
  .registerType('Request', {
    ctor: CelRequest,
    fields: { reason: text, ttl: 'int', task: text, params: 'map<string, string>', delivery: text, ip: text },
  })
  .registerVariable('claims', 'map<string, dyn>')
  .registerVariable('issuer', 'Issuer')
  .registerVariable('workload', 'Workload')
  .registerVariable('purpose', 'Purpose')
  .registerVariable('credential', 'Credential')
  .registerVariable('request', 'Request')
  .registerVariable('now', 'google.protobuf.Timestamp')

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

/** Compiles and type-checks an expression that must give a bool, and bounds what running it can cost. */
export function compileCondition(
  source: string,
): { readonly ok: true; readonly condition: Condition } | { readonly ok: false; readonly problem: ConditionProblem } {
  const refuse = (offset: number, message: string, fix: string) =>
    ({ ok: false, problem: { offset, message, fix } }) as const
  if (source.length > maxCharacters)
    return refuse(0, `longer than ${maxCharacters} characters`, 'split it into purposes')
  let program: ParseResult
  try {
    program = environment.parse(source)
  } catch (error) {
    return refuse(offsetOf(error), summaryOf(error), 'correct the CEL expression')
  }
  // Before the type check: it rewrites macros in place.
  const bad = firstRefusal(program.ast, 0)
  if (bad !== undefined) return { ok: false, problem: bad }
  const cost = costOf(program.ast)
  if (cost > maxCost) return refuse(0, `may take ${cost} steps, more than ${maxCost}`, 'look at fewer lists at once')
  const parts = conjuncts(program.ast).map((node) => source.slice(node.start, node.end))
  const operandTexts = operandsOf(program.ast).map((node) => source.slice(node.start, node.end))
  const checked = program.check()
  if (!checked.valid) {
    const message = summaryOf(checked.error)
    return refuse(offsetOf(checked.error), message, message.includes('overload') ? comparable : declared)
  }
  if (checked.type !== 'bool') return refuse(0, `gives ${checked.type}, not bool`, 'compare it with something')
  return { ok: true, condition: condition(source, program, parts, operandTexts) }
}

function condition(
  source: string,
  program: ParseResult,
  parts: readonly string[],
  operands: readonly string[],
): Condition {
  const self: Condition = {
    text: source,
    evaluate(context) {
      try {
        const value: unknown = program(context)
        return typeof value === 'boolean' ? { value } : { undecided: 'the result is not a bool' }
      } catch (error) {
        return { undecided: summaryOf(error) }
      }
    },
    parts() {
      if (parts.length < 2) return [self]
      return parts.flatMap((part) => {
        const compiled = compileCondition(part)
        return compiled.ok ? [compiled.condition] : []
      })
    },
    operands: (context) => operands.map((operand) => ({ text: operand, value: show(operand, context) })),
  }
  return self
}

function show(source: string, context: ConditionContext): string {
  try {
    const value: unknown = environment.parse(source)(context)
    const shown = JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner))
    return (shown ?? String(value)).slice(0, 200)
  } catch (error) {
    return summaryOf(error)
  }
}

const summaryOf = (error: unknown): string =>
  error instanceof Error && 'summary' in error && typeof error.summary === 'string'
    ? error.summary.slice(0, 200)
    : 'cannot be evaluated'

function offsetOf(error: unknown): number {
  const range = error instanceof Error && 'range' in error ? error.range : undefined
  return typeof range === 'object' && range !== null && 'start' in range && typeof range.start === 'number'
    ? range.start
    : 0
}

/** Child nodes, whatever the operator. */
function childrenOf(node: ASTNode): readonly ASTNode[] {
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

function firstRefusal(node: ASTNode, nesting: number): ConditionProblem | undefined {
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
function costOf(node: ASTNode): number {
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

function conjuncts(node: ASTNode): readonly ASTNode[] {
  return node.op === '&&' ? [...conjuncts(node.args[0]), ...conjuncts(node.args[1])] : [node]
}

/** Field and index chains that start at a declared variable, each once. */
function operandsOf(node: ASTNode): readonly ASTNode[] {
  const seen = new Map<string, ASTNode>()
  const visit = (inner: ASTNode): void => {
    if (rootOf(inner) !== undefined && inner.op !== 'id') {
      seen.set(inner.input.slice(inner.start, inner.end), inner)
      return
    }
    for (const child of childrenOf(inner)) visit(child)
  }
  visit(node)
  return [...seen.values()]
}

function rootOf(node: ASTNode): string | undefined {
  if (node.op === 'id') return environment.hasVariable(node.args) ? node.args : undefined
  if (node.op === '.') return rootOf(node.args[0])
  if (node.op === '[]') return node.args[1].op === 'value' ? rootOf(node.args[0]) : undefined
  return undefined
}
