import { parseDuration } from '../base/duration.ts'
import { messageOf } from '../base/errors.ts'
import type { Claims } from '../identity/identity.ts'
import { decide } from './decide.ts'
import type { AccessRequest, Decision } from './decision.ts'
import { parseTestText } from './document.ts'
import { dateStartMs } from './fields.ts'
import { readPolicyFiles } from './files.ts'
import type { IssuerPolicy } from './issuer.ts'
import type { PolicyProblem } from './load.ts'
import { claimAt } from './match.ts'
import type { PolicySet } from './policy-set.ts'
import type { DecidableIdentity } from './stand.ts'
import type { TestCase, TestFile } from './testcase.ts'

/** What became of one case; `differences` is empty when the decision was the expected one. */
interface CaseResult {
  readonly file: string
  readonly name: string
  readonly differences: readonly string[]
  readonly decision: Decision
}

/** Results of every case below a folder, or why the files cannot be read. */
export type TestRun =
  | { readonly ok: true; readonly results: readonly CaseResult[] }
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] }

/** Runs every case in the YAML files of `dir` against a set. */
export async function runTestCases(set: PolicySet, dir: string): Promise<TestRun> {
  const problem = (file: string, message: string, fix: string): PolicyProblem => ({
    file,
    line: 1,
    col: 1,
    message,
    fix,
    severity: 'error',
  })
  const results: CaseResult[] = []
  const problems: PolicyProblem[] = []
  try {
    for (const { name: file, text, problem: unread } of await readPolicyFiles(dir, new Set())) {
      if (unread !== undefined) problems.push(problem(file, unread.message, unread.fix))
      const parsed = parseTestText(text)
      problems.push(...parsed.problems.map((found): PolicyProblem => ({ file, ...found, severity: 'error' })))
      for (const tests of parsed.files) results.push(...tests.cases.map((test) => runCase(set, file, tests, test)))
    }
  } catch (error) {
    problems.push(problem(dir, `the folder cannot be read: ${messageOf(error)}`, 'put test cases into policies/tests'))
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, results }
}

function runCase(set: PolicySet, file: string, { now }: TestFile, test: TestCase): CaseResult {
  const nowMs = dateStartMs(test.now ?? now) ?? 0
  const counters = { active: test.active ?? 0, lastMinute: test.last_minute ?? 0 }
  const decision = decide(set, identityOf(set, test), requestOf(test, nowMs), counters, nowMs)
  return { file, name: test.name, differences: differences(test.expect, decision), decision }
}

/** The identity that a token with these claims would have. */
export function identityOf(
  set: PolicySet,
  { issuer, claims, environment }: Pick<TestCase, 'issuer' | 'claims' | 'environment'>,
): DecidableIdentity {
  // Test files hold JSON values only: the strict YAML reader makes nothing else.
  const given = claims as Claims
  const policy = set.byName.issuer.get(issuer)?.policy
  return {
    issuer,
    subject: typeof given.sub === 'string' ? given.sub : '',
    claims: given,
    environment: environment === undefined ? environmentOf(policy?.environment, given) : (environment ?? undefined),
  }
}

function environmentOf(source: IssuerPolicy['environment'], claims: Claims): string | undefined {
  if (source === undefined || typeof source === 'string') return source
  const value = claimAt(claims, [source.claim])
  return typeof value === 'string' && Object.hasOwn(source.map, value) ? source.map[value] : undefined
}

function requestOf({ request }: TestCase, nowMs: number): AccessRequest {
  const { purpose, credential, ttl, task, reason, params, delivery, ip } = request
  const taskSeconds = typeof task === 'string' ? (parseDuration(task) ?? 0) : 3600
  return {
    purpose,
    credential,
    ttlSeconds: ttl === undefined ? undefined : parseDuration(ttl),
    reason: reason ?? '',
    task: task === undefined ? '' : 'tsk_00000000000000000000000000',
    taskEndsAtMs: task === undefined ? undefined : nowMs + taskSeconds * 1000,
    params: params ?? {},
    delivery,
    ip: ip ?? '',
  }
}

function differences(expect: TestCase['expect'], decision: Decision): string[] {
  const found: string[] = []
  const compare = (what: string, wanted: unknown, got: unknown): void => {
    if (wanted !== undefined && JSON.stringify(wanted) !== JSON.stringify(got)) {
      found.push(`${what} is ${JSON.stringify(got) ?? 'none'}, expected ${JSON.stringify(wanted)}`)
    }
  }
  const access = decision.effect === 'deny' ? undefined : decision.access
  const failed = decision.effect === 'deny' ? decision.refusal.reasons.filter(({ ok }) => !ok) : []
  compare('effect', expect.effect, decision.effect)
  compare('code', expect.code, decision.effect === 'deny' ? decision.refusal.code : undefined)
  compare('workload', expect.workload, decision.effect === 'deny' ? decision.subject.workload : access?.workload)
  compare('ttl in seconds', expect.ttl === undefined ? undefined : parseDuration(expect.ttl), access?.ttlSeconds)
  compare('capped_by', expect.capped_by, access?.cappedBy)
  compare('level', expect.level, decision.effect === 'needs_approval' ? decision.level : undefined)
  compare('approvers', expect.approvers, decision.effect === 'needs_approval' ? decision.approvers : undefined)
  return found.length === 0 ? [] : [...found, ...failed.map(({ rule, detail }) => `because ${rule}: ${detail}`)]
}
