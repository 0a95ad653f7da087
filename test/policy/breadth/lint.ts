import { breadthProblems, issuerProblems } from '../../../src/policy/breadth/breadth.ts'
import { type IssuerPolicy, issuerSchema } from '../../../src/policy/issuer.ts'
import { claimRules } from '../../../src/policy/match.ts'
import type { ClaimPattern } from '../../../src/policy/workload.ts'

type Fields = Readonly<Record<string, unknown>>

/** What is said of a match, as `severity: message, fix`, for an Issuer of one platform. */
export interface Lint {
  match(claims: Readonly<Record<string, ClaimPattern>>, look?: { staging?: boolean; issuer?: Fields }): string[]
  issuer(fields: Fields): string[]
}

export function lintFor(flavour: IssuerPolicy['flavour'], url: string): Lint {
  const parse = (fields: Fields = {}): IssuerPolicy =>
    issuerSchema.parse({
      kind: 'Issuer',
      name: 'ci',
      flavour,
      url,
      audience: 'https://writ.example.com',
      keys: { discovery: true },
      ...fields,
    })
  const line = (one: { severity: string; message: string; fix: string }): string =>
    `${one.severity}: ${one.message}, ${one.fix}`
  return {
    match: (claims, { staging = false, issuer } = {}) =>
      breadthProblems({ rules: claimRules(claims), issuer: parse(issuer), production: !staging }).map(line),
    issuer: (fields) => issuerProblems(parse(fields)).map(line),
  }
}
