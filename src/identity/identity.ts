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
  /** The `iss` claim. */
  readonly issuerUrl: string
  readonly flavour: string
  readonly subject: string
  readonly claims: Claims
  /** The environment this token may act in, where its Issuer fixes or maps one. */
  readonly environment: string | undefined
  /** SHA-256 (hex) of issuer and `jti`, or of the token where it has none: names the token without holding it. */
  readonly fingerprint: string
  readonly jti: string | undefined
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  readonly replay: 'allow' | 'once_per_purpose' | 'once'
  /** A stable name for the unit of work the platform says this is (CI run, pod uid), where the flavour knows one. */
  readonly run: string | undefined
}
