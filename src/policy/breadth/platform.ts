import type { IssuerPolicy } from '../issuer.ts'
import type { ClaimRule } from '../match.ts'

/** Something about a document worth reporting, at the part it is about. */
interface Problem<Path> {
  readonly severity: 'error' | 'warning'
  readonly path: Path
  readonly message: string
  readonly fix: string
}

/** Something about a `match`; the path is that of a claim (`undefined`: the match as a whole). */
export type BreadthProblem = Problem<readonly string[] | undefined>
/** Something about an Issuer document; the path is within the document. */
export type IssuerProblem = Problem<readonly (string | number)[]>

/** A `match` and what it is for. */
export interface MatchLook {
  readonly rules: readonly ClaimRule[]
  readonly issuer: IssuerPolicy
  /** Whether a purpose of the workload reaches production. */
  readonly production: boolean
}

/** Text that names one workload today and may name another one tomorrow. */
export interface Recyclable {
  /** How it comes to name another one, as the end of "CLAIM …". */
  readonly why: string
  /** Labels of claims (see `ClaimRule`) that never do, the one to prefer first. */
  readonly instead: readonly string[]
}

/** What is known of the tokens of one platform when policies are read; one file per platform. */
export interface Platform {
  /** Segments of its subjects that are form and tell no two workloads apart. */
  readonly forms: readonly string[]
  /** Claims, by label, whose text is given to somebody else once its holder gives it up. */
  readonly recyclable: Readonly<Record<string, Recyclable>>
  /** What an Issuer of the platform should keep to beyond the rules of every Issuer. */
  issuer?(issuer: IssuerPolicy): readonly IssuerProblem[]
  /** Traps of the platform that a match walks into. Asked only when it names a claim that tells tokens apart. */
  match?(look: MatchLook): readonly BreadthProblem[]
}

/** Ids that the platform writes as text and that a match gives as numbers. */
export const numbersForText = (
  rules: readonly ClaimRule[],
  platform: string,
  numbers: readonly string[] = [],
): readonly BreadthProblem[] =>
  rules
    .filter(({ label, pattern }) => label.endsWith('_id') && typeof pattern === 'number' && !numbers.includes(label))
    .map(({ label, pattern, path }) => ({
      severity: 'error',
      path,
      message: `${platform} writes \`${label}\` as text, which a number never equals`,
      fix: `put it in quotes: "${pattern}"`,
    }))

/** A rule about using tokens once, which a platform whose tokens have no `jti` cannot meet. */
export const withoutId = ({ replay }: IssuerPolicy['token'], platform: string): readonly IssuerProblem[] =>
  replay === 'allow'
    ? []
    : [
        {
          severity: 'warning',
          path: ['token', 'replay'],
          message: `${platform} writes no \`jti\`, and a token without one cannot be counted, so it is refused`,
          fix: 'write replay: allow',
        },
      ]
