/** A claim value after bounded parsing. */
export type Claim = string | number | boolean | null | readonly Claim[] | { readonly [name: string]: Claim }
export type Claims = { readonly [name: string]: Claim }

declare const verified: unique symbol

/**
 * Who presented a token, after every check of its issuer passed. The brand means that only `identity/verify.ts`
 * can make one, so a function that takes an Identity cannot be given unchecked claims.
 * `subject` and `claims` are genuine but still the text of someone else: never put them unescaped into a path or a name.
 */
export interface Identity {
  readonly [verified]: true
  /** Name of the Issuer document. */
  readonly issuer: string
  /** The `url` of that document: the `iss` claim, where the token has one. */
  readonly issuerUrl: string
  readonly flavour: string
  readonly subject: string
  readonly claims: Claims
  /** The environment this token may act in, where its Issuer fixes or maps one. */
  readonly environment: string | undefined
  /**
   * SHA-256 (hex) of the JSON list `[iss, jti]`, or of the token's signed part (`header.payload`) where it has no `jti`:
   * names the token without holding it. The signature stays out, because one token can be given several valid ones.
   */
  readonly fingerprint: string
  readonly jti: string | undefined
  /** `iat`; where the token has none, `nbf`, or the moment it was verified. */
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  /** `expiresAtMs` and the leeway of its Issuer: from then on the token is refused. Replay is remembered until then. */
  readonly usableUntilMs: number
  readonly replay: 'allow' | 'once_per_purpose' | 'once'
  /** A stable name for the unit of work the platform says this is (CI run, pod uid), where the flavour knows one. */
  readonly run: string | undefined
}
