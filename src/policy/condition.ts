import { type ASTNode, Environment, type ParseResult } from '@marcbachmann/cel-js'
import type { Claims } from '../identity/identity.ts'
import { type ConditionProblem, childrenOf, costOf, firstRefusal } from './condition-cost.ts'
import { lookedAtForgotten } from './forgotten.ts'

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

/**
 * What an expression came to. `undecided` holds why: a claim that is missing or has another type than the rule expects. `unknown` says
 * that its value turns on a part of the context that nobody knows any more; see `forgotten.ts`.
 */
type Verdict = { readonly value: boolean } | { readonly undecided: string; readonly unknown?: true }

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
  const bad = firstRefusal(program.ast)
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
        return lookedAtForgotten(context)
          ? { undecided: 'it turns on what only the token or the request said', unknown: true }
          : { undecided: summaryOf(error) }
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
