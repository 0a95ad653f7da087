import type { IssuerPolicy } from '../issuer.ts'
import { type ClaimRule, globProblem, segmentsOf } from '../match.ts'
import { type BreadthProblem, type IssuerProblem, type MatchLook, warning } from './platform.ts'
import { platforms } from './platforms.ts'

// Every token of an issuer carries these, so they tell no two workloads apart.
const commonClaims: ReadonlySet<string> = new Set(['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'typ', 'azp'])

const forms: ReadonlySet<string> = new Set([
  ...['', 'spiffe', 'ns', 'sa'],
  ...Object.values(platforms).flatMap((platform) => platform.forms),
])

/** Whether a `match` pins its workload down; an error where it would take in tokens of anything at all. */
export function breadthProblems(look: MatchLook): readonly BreadthProblem[] {
  const { rules, issuer } = look
  const problems: BreadthProblem[] = []
  for (const { path, pattern, glob } of rules) {
    const problem = glob ? globProblem(String(pattern)) : undefined
    if (problem !== undefined) {
      problems.push({ severity: 'error', path, message: problem, fix: 'use at most one `*` in each segment' })
    }
  }
  if (!rules.every(({ label }) => commonClaims.has(label))) {
    problems.push(...(platforms[issuer.flavour]?.match?.(look) ?? []))
  }
  if (problems.some(({ severity }) => severity === 'error') || rules.some(tellsApart)) return problems
  const fix = 'name at least one claim of this workload alone, such as `sub`, in full'
  return [
    { severity: 'error', path: undefined, message: 'the match is so wide that any token of the issuer fits', fix },
  ]
}

/** What is wrong with an Issuer for a platform like its own; of flavour generic, for the platform that it really is of. */
export function issuerProblems(issuer: IssuerPolicy): readonly IssuerProblem[] {
  const own = platforms[issuer.flavour]?.issuer?.(issuer) ?? []
  // An Issuer of signals alone has no tokens to apply any rules to.
  if (issuer.flavour !== 'generic' || issuer.audience === undefined) return own
  const [flavour] = Object.entries(platforms).find(([, { owns }]) => owns?.(issuer.url) === true) ?? []
  if (flavour === undefined) return own
  const message = `the rules of ${flavour} are not applied to its tokens, so those of people and other traps get through`
  return [...own, warning(['flavour'], message, `write flavour: ${flavour}`)]
}

/** A rule that most other workloads of the issuer would fail: exact, or a glob with literal text that is more than a form. */
function tellsApart({ label, pattern, glob }: ClaimRule): boolean {
  if (commonClaims.has(label)) return false
  if (typeof pattern !== 'string' || !glob) return true
  return segmentsOf(pattern).segments.some((segment) => segment.replace('*', '').length >= 2 && !forms.has(segment))
}
