import type { Log } from '../../src/base/log.ts'
import type { Identity } from '../../src/identity/identity.ts'
import type { IssuersOptions } from '../../src/identity/issuers.ts'
import { createVerifier, type Verifier } from '../../src/identity/verify.ts'
import { type IssuerPolicy, issuerSchema } from '../../src/policy/issuer.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { type SignOptions, type TestIssuer, testAudience } from '../support/issuer.ts'

type Claims = Readonly<Record<string, unknown>>

/** An Issuer document for a test issuer, through the real schema. */
export const issuerPolicy = (issuer: TestIssuer, more: Claims = {}): IssuerPolicy =>
  issuerSchema.parse({
    kind: 'Issuer',
    name: 'ci',
    url: issuer.url,
    audience: testAudience,
    keys: { jwks: issuer.jwks() },
    ...more,
  })

export interface RecordedLog extends Log {
  readonly lines: { readonly event: string; readonly fields: Record<string, unknown> }[]
}

export function recordedLog(): RecordedLog {
  const lines: RecordedLog['lines'] = []
  const write = (fields: Record<string, unknown>, event: string): void => void lines.push({ event, fields })
  return { lines, info: write, warn: write, error: write }
}

export interface Scene {
  readonly clock: FakeClock
  readonly log: RecordedLog
  readonly verifier: Verifier
  /** Seconds since the epoch on the fake clock. */
  now(): number
  /** A token of the issuer, by the fake clock. */
  sign(claims?: Claims, options?: SignOptions): Promise<string>
  /** `ok`, or the code of the refusal. */
  codeOf(token: string): Promise<string>
  /** The last reason of the refusal, as `rule: detail`. */
  whyNot(token: string): Promise<string>
  identity(token: string): Promise<Identity>
}

/** A verifier over one issuer, a fake clock and a log that can be read. */
export function scene(issuer: TestIssuer, more: Claims = {}, options: Partial<IssuersOptions> = {}): Scene {
  const clock = fakeClock()
  const log = recordedLog()
  const policies = [issuerPolicy(issuer, more)]
  const verifier = createVerifier({ issuers: () => policies, clock, log, allowLoopbackHttp: true, ...options })
  const now = (): number => clock.now() / 1000
  return {
    clock,
    log,
    verifier,
    now,
    sign: (claims, signing) => issuer.sign(claims, { now: now(), ...signing }),
    async codeOf(token) {
      const result = await verifier.verify(token)
      return result.ok ? 'ok' : result.refusal.code
    },
    async whyNot(token) {
      const result = await verifier.verify(token)
      const last = result.ok ? undefined : result.refusal.reasons.at(-1)
      return last === undefined ? 'ok' : `${last.rule}: ${last.detail}`
    },
    async identity(token) {
      const result = await verifier.verify(token)
      if (!result.ok) throw new Error(`refused: ${JSON.stringify(result.refusal)}`)
      return result.value
    },
  }
}
