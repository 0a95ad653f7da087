import type { Identity } from '../../../src/identity/identity.ts'
import type { SignOptions, TestIssuer } from '../../support/issuer.ts'
import { scene } from '../setup.ts'

type Claims = Readonly<Record<string, unknown>>

/** Tokens of one platform, signed by a test key and judged by an Issuer document of that platform. */
export interface TestPlatform {
  /** `ok`, or the rule that refused and what it said. A claim given as `undefined` is left out. */
  judge(claims: Claims, signing?: SignOptions): Promise<string>
  identity(claims: Claims): Promise<Identity>
}

export function testPlatform(issuer: TestIssuer, policy: Claims & { readonly url: string }): TestPlatform {
  const s = scene(issuer, policy)
  const sign = (claims: Claims, signing: SignOptions = {}): Promise<string> =>
    s.sign({ iss: policy.url, ...claims }, signing)
  return {
    judge: async (claims, signing) => s.whyNot(await sign(claims, signing)),
    identity: async (claims) => s.identity(await sign(claims)),
  }
}
