import type { Flavour } from './flavour.ts'

/** Any OpenID Connect issuer: nothing beyond the rules of its Issuer document. Access tokens of RFC 9068 are taken too. */
export const generic: Flavour = {
  name: 'generic',
  types: ['jwt', 'at+jwt'],
  check: () => [],
  run: () => undefined,
}
