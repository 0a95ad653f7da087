import type { IssuerPolicy } from '../../policy/issuer.ts'
import type { Finding } from '../check.ts'
import type { Claims } from '../identity.ts'

/** What a platform's tokens are held to, beyond what every token is held to. Pure; one file per platform. */
export interface Flavour {
  readonly name: IssuerPolicy['flavour']
  /**
   * Media types of `typ` (RFC 8725 section 3.11), lower case, without `application/`. A token without `typ` passes: the
   * platforms served here leave it out or may.
   */
  readonly types: readonly string[]
  /** Looks at the header before any key is touched, where the platform asks for more of it than the rest do. */
  header?(header: Claims): Finding
  /** Looks at genuine claims. The first finding with a code refuses the token. */
  check(claims: Claims, issuer: IssuerPolicy): readonly Finding[]
  /** A stable name for the unit of work the platform says this is, out of claims that passed `check`. */
  run(claims: Claims): string | undefined
}
