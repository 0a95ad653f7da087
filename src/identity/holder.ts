/** The public members of a key, and nothing else of what its owner said of it (RFC 7518 section 6, RFC 8037 section 2). */
export type PublicJwk =
  | { readonly kty: 'EC'; readonly crv: string; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }
  | { readonly kty: 'OKP'; readonly crv: string; readonly x: string }

/** A key that the caller has proved it holds, for this very request. */
export interface Holder {
  /** The SHA-256 thumbprint of the key (RFC 7638), in base64url: names it on record and in `cnf`. */
  readonly jkt: string
  readonly jwk: PublicJwk
}
