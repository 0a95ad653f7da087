import {
  type BreadthProblem,
  givenAway,
  type MatchLook,
  type Platform,
  ruleFor,
  sharedAudience,
  warning,
} from './platform.ts'

const changes = 'may change, and may be given to somebody else'

/** Tokens of an issuer of which nothing more is known than OpenID Connect says. */
export const generic: Platform = {
  forms: [],
  // OpenID Connect Core 1.0 section 5.7: `sub` with `iss` is the only claim that an issuer must never give away.
  recyclable: {
    email: { why: changes, instead: ['sub'] },
    preferred_username: { why: changes, instead: ['sub'] },
    name: { why: changes, instead: ['sub'] },
    phone_number: { why: changes, instead: ['sub'] },
  },
  issuer: (issuer) =>
    sharedAudience(issuer, (one) => one === issuer.url, 'tokens that are meant for the issuer itself fit, too'),
  match: breadth,
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
  const names = givenAway(rules, generic.recyclable)
  if (names.length > 0 || ruleFor(rules, 'sub') !== undefined) return names
  return [
    warning(
      undefined,
      'the match asks nothing of `sub`, the only claim that an issuer must never give to somebody else',
      'add `sub`, or choose the flavour of the platform',
    ),
  ]
}
