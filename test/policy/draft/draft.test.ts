import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Claims } from '../../../src/identity/identity.ts'
import { platforms } from '../../../src/policy/breadth/platforms.ts'
import { draftWorkload } from '../../../src/policy/draft/draft.ts'
import { guessFlavour } from '../../../src/policy/draft/flavour.ts'
import { matchOf, pinnedClaims } from '../../../src/policy/draft/pinned.ts'
import { draftText } from '../../../src/policy/draft/text.ts'
import { claimAt, claimRules } from '../../../src/policy/match.ts'
import { tokens } from './platforms.ts'

type Flavour = keyof typeof tokens
const flavours = Object.keys(tokens) as Flavour[]

const draft = (flavour: Flavour, claims: object = tokens[flavour].claims) =>
  draftWorkload(
    { header: { alg: 'RS256' }, claims: claims as unknown as Claims, named: { name: 'drafted', flavour } },
    { credentials: [] },
  )
const matchIn = ({ documents }: ReturnType<typeof draft>) =>
  (documents.at(-1) as { match: { claims: Record<string, never> } }).match.claims
const without = (flavour: Flavour, ...names: string[]) =>
  Object.fromEntries(Object.entries(tokens[flavour].claims).filter(([name]) => !names.includes(name)))

describe.each(flavours)('a draft from a token of %s', (flavour) => {
  it('knows the platform by the token', () => {
    const found = guessFlavour(tokens[flavour].claims as unknown as Claims)
    expect(found).toBe(flavour === 'generic' ? undefined : flavour)
  })

  it('pins what lasts, and nothing that changes from run to run', () => {
    expect(matchIn(draft(flavour))).toEqual(tokens[flavour].match)
    expect(draft(flavour).warnings).toEqual(tokens[flavour].warnings)
  })

  it('fits the token it was drafted from', () => {
    const claims = tokens[flavour].claims as unknown as Claims
    const rules = claimRules(matchIn(draft(flavour)))
    expect(rules.length).toBeGreaterThan(0)
    expect(rules.filter(({ path, test }) => !test(claimAt(claims, path)))).toEqual([])
  })
})

describe('a claim whose text is given away', () => {
  it.each([
    ['github-actions', ['repository_id', 'repository_owner_id'], /^`repository` can be taken over.*`repository_id`/],
    ['gitlab', ['project_id', 'namespace_id'], /^`project_path` can be taken over.*`project_id`/],
    ['kubernetes', ['kubernetes.io'], /^`sub` names whatever is made under that name.*serviceaccount\/uid/],
    ['google', ['sub', 'google'], /^`email`: .*address.*`sub`/],
  ] as const)('of %s is used only where there is no id, with one line', (flavour, absent, line) => {
    const { warnings } = draft(flavour, without(flavour, ...absent))
    expect(warnings).toEqual([expect.stringMatching(line)])
  })

  it('is known of every platform that says what pins a workload', () => {
    const pinning = Object.entries(platforms).filter(([, platform]) => platform.pins !== undefined)
    expect(pinning.length).toBeGreaterThan(5)
    // A name that is given away comes after an id of the same thing, or is all there is.
    for (const [name, { pins = [], recyclable }] of pinning) {
      for (const { labels } of pins) {
        const first = labels[0] ?? ''
        if (labels.length > 1) expect(recyclable[first], `${name} ${first}`).toBeUndefined()
      }
    }
  })
})

describe('what a token may try', () => {
  it.each([
    ['a star, which would fit other text', 'repo:*', /holds a `\*`/],
    ['what cannot be seen', 'agent\u202e7', /cannot be seen/],
    ['an escape', 'agent\u001b[2J', /cannot be seen/],
    ['nothing', '', /empty/],
    ['very much', 'a'.repeat(1025), /longer than/],
    ['a list', ['a', 'b'], /neither text/],
  ])('%s is left out and said, and the match is said to be too wide', (_, sub, why) => {
    const { warnings, documents } = draft('generic', { ...tokens.generic.claims, sub })
    expect(warnings[0]).toMatch(why)
    expect(warnings.at(-1)).toMatch(/any token of the issuer fits/)
    expect(matchIn({ warnings, documents })).toEqual({})
  })

  it('a pull request or a tag pins nothing: that is said', () => {
    const { warnings, documents } = draft('github-actions', {
      ...tokens['github-actions'].claims,
      ref: 'refs/pull/7/merge',
    })
    expect(warnings).toEqual([expect.stringMatching(/^`ref` is left out: refs\/pull\/… changes from run to run/)])
    expect(matchIn({ warnings, documents })).not.toHaveProperty('ref')
  })

  it('claims of any shape give a match that fits them, and inherited names are none', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...flavours),
        fc.dictionary(
          fc.constantFrom('sub', 'ref', 'repository_id', 'kubernetes.io', 'google', 'oid', '__proto__'),
          fc.jsonValue(),
        ),
        (flavour, claims) => {
          const { claims: pinned } = pinnedClaims(flavour, claims as Claims)
          const rules = claimRules(matchOf(pinned))
          expect(rules.filter(({ path, test, glob }) => glob || !test(claimAt(claims as Claims, path)))).toEqual([])
          draftText(draft(flavour, claims))
        },
      ),
    )
  })

  it('an algorithm or an issuer that no Issuer document may have is left to a person', () => {
    for (const alg of ['none', 'HS256', 7]) {
      const claims = { ...tokens.generic.claims, iss: 'https://a.example/\u202e', aud: { x: 1 } } as unknown as Claims
      const { documents } = draftWorkload(
        { header: { alg }, claims, named: { name: 'x', flavour: 'generic' } },
        { credentials: [] },
      )
      expect(documents[0]).toMatchObject({ kind: 'Issuer', algorithms: null, url: null, audience: null })
    }
  })

  it('an SVID without iss gives an issuer of its trust domain, whose bundle is asked for', () => {
    const claims = without('spiffe', 'iss')
    expect(guessFlavour(claims as unknown as Claims)).toBe('spiffe')
    expect(draft('spiffe', claims).documents[0]).toMatchObject({
      url: 'spiffe://example.org',
      trust_domain: 'example.org',
      keys: { jwks_url: null },
    })
  })
})
