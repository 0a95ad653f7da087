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

/** One thing about a workload that a match can hold its tokens to; for drafting one. */
export interface Pin {
  /** The labels of the claims that say it, the one that lasts longest first; the first that is there is taken. */
  readonly labels: readonly string[]
  /** It is worth naming with this text alone. */
  readonly only?: string
  /** Text that begins like this changes from run to run, so nothing is pinned by it. */
  readonly passing?: readonly string[]
}

/** What is known of the tokens of one platform when policies are read; one file per platform. */
export interface Platform {
  /** Segments of its subjects that are form and tell no two workloads apart. */
  readonly forms: readonly string[]
  /** Claims, by label, whose text is given to somebody else once its holder gives it up. */
  readonly recyclable: Readonly<Record<string, Recyclable>>
  /** What pins a workload down tightest and longest. Nothing that changes from run to run; the subject where this is absent. */
  readonly pins?: readonly Pin[]
  /** Whether a URL can be that of no other issuer than this platform. */
  owns?(url: string): boolean
  /** What an Issuer of the platform should keep to beyond the rules of every Issuer. */
  issuer?(issuer: IssuerPolicy): readonly IssuerProblem[]
  /** Traps of the platform that a match walks into. Asked only when it names a claim that tells tokens apart. */
  match?(look: MatchLook): readonly BreadthProblem[]
}

/** How a name of most platforms comes to be somebody else's. */
export const takenOver = 'can be taken over once it is given up'

export const ruleFor = (rules: readonly ClaimRule[], label: string): ClaimRule | undefined =>
  rules.find((rule) => rule.label === label)

/** Whether a rule is there that no `*` leaves open at its end: `refs/heads/*` names no branch, `refs/tags/v*` some tags. */
export const isNamed = (rules: readonly ClaimRule[], label: string): boolean => isClosed(ruleFor(rules, label)?.pattern)

/** The same for the text of a pattern, or of a part of one. */
export const isClosed = (pattern: unknown): boolean =>
  pattern !== undefined && pattern !== '' && String(pattern).split('/').at(-1) !== '*'

/** What stands after `key` in a subject of the form `key:value:key:value`; `undefined` when the pattern does not say. */
export function partOf(rules: readonly ClaimRule[], key: string): string | undefined {
  const parts = String(ruleFor(rules, 'sub')?.pattern ?? '').split(':')
  const at = parts.findIndex((part, index) => index % 2 === 0 && part === key)
  return at < 0 ? undefined : parts[at + 1]
}

/** Whether a part of the subject is there without any `*`. */
export const isWhole = (text: string | undefined): boolean => text !== undefined && text !== '' && !text.includes('*')

export const warning = <Path>(path: Path, message: string, fix: string): Problem<Path> => ({
  severity: 'warning',
  path,
  message,
  fix,
})

export const error = <Path>(path: Path, message: string, fix: string): Problem<Path> => ({
  ...warning(path, message, fix),
  severity: 'error',
})

/** Names in a match that are given away, where no claim that stays is asked for beside them. */
export const givenAway = (
  rules: readonly ClaimRule[],
  recyclable: Platform['recyclable'],
  labels: readonly string[] = Object.keys(recyclable),
): readonly BreadthProblem[] =>
  rules.flatMap(({ label, path }) => {
    const known = labels.includes(label) ? recyclable[label] : undefined
    if (known === undefined || known.instead.some((stable) => ruleFor(rules, stable) !== undefined)) return []
    return [
      warning(path, `\`${label}\` ${known.why}`, `add ${known.instead.map((name) => `\`${name}\``).join(' or ')}`),
    ]
  })

/** Values that the platform writes as text and that a match gives as numbers or truth values. */
export const textOnly = (
  rules: readonly ClaimRule[],
  platform: string,
  isText: (label: string) => boolean,
): readonly BreadthProblem[] =>
  rules
    .filter(({ label, pattern }) => typeof pattern !== 'string' && isText(label))
    .map(({ label, pattern, path }) =>
      error(
        path,
        `${platform} writes \`${label}\` as text, which a ${typeof pattern === 'number' ? 'number' : 'truth value'} never equals`,
        `put it in quotes: "${pattern}"`,
      ),
    )

/** An audience that tokens for others carry as well. */
export function sharedAudience(
  { audience = [] }: IssuerPolicy,
  isShared: (audience: string) => boolean,
  message: string,
): readonly IssuerProblem[] {
  const list = typeof audience === 'string' ? [audience] : audience
  return list.some(isShared)
    ? [warning(['audience'], message, 'ask for tokens with the URL of the broker as `aud`')]
    : []
}

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
