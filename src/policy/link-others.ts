import { issuerProblems } from './breadth/breadth.ts'
import type { ExceptionPolicy } from './exception.ts'
import type { GuardrailPolicy } from './guardrail.ts'
import type { IssuerPolicy } from './issuer.ts'
import type { Linker } from './link.ts'
import type { TeamPolicy } from './team.ts'

/** What an Issuer document must keep to beyond its schema. */
export function checkIssuer(issuer: IssuerPolicy, linker: Linker): void {
  if (!linker.first(`issuer url ${issuer.url}`)) {
    linker.error(['url'], 'another Issuer has the same url, so a token would have two rules', 'keep one of them')
  }
  if (issuer.audience === undefined && issuer.signals === undefined) {
    linker.error(
      ['name'],
      'the issuer is for nothing',
      'add `audience` to take its tokens, or `signals` to take its signals',
    )
  }
  if (issuer.token_review !== undefined) checkTokenReview(issuer.flavour, issuer.token_review.url, linker)
  issuer.signals?.speaks_for?.forEach((name, at) => void linker.refer('Issuer', name, ['signals', 'speaks_for', at]))
  checkTrustDomain(issuer, linker)
  for (const { severity, path, message, fix } of issuerProblems(issuer)) {
    if (severity === 'error') linker.error(path, message, fix)
    else linker.warn(path, message, fix)
  }
}

function checkTokenReview(flavour: IssuerPolicy['flavour'], url: string, linker: Linker): void {
  if (flavour !== 'kubernetes') {
    linker.error(['token_review'], 'only Kubernetes reviews tokens', 'remove it, or write flavour: kubernetes')
  }
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    linker.error(['token_review', 'url'], 'a token is sent there, and it is not https', 'write an https URL')
  }
}

function checkTrustDomain({ flavour, trust_domain: domain, audience }: IssuerPolicy, linker: Linker): void {
  if (domain === undefined) return
  if (flavour !== 'spiffe') {
    linker.error(
      ['trust_domain'],
      'only an issuer of SPIFFE IDs has a trust domain',
      'remove it, or write flavour: spiffe',
    )
  } else if (audience !== undefined && !linker.first(`trust domain ${domain}`)) {
    linker.warn(
      ['trust_domain'],
      'another Issuer has the same trust domain, so SVIDs without `iss` are refused as of neither',
      'keep one of them, unless every SVID of the trust domain carries an `iss`',
    )
  }
}

/** Refers to an Issuer whose tokens somebody presents; one of signals alone is of no use for that. */
export function referToTokens(issuer: string, path: readonly (string | number)[], linker: Linker): boolean {
  if (!linker.refer('Issuer', issuer, path)) return false
  if (linker.registry.Issuer.get(issuer)?.document.audience === undefined) {
    linker.error(
      path,
      `\`${issuer}\` signs signals alone, so there are no tokens of it`,
      'add `audience` to that Issuer',
    )
  }
  return true
}

/** What a Team document must keep to beyond its schema. */
export function checkTeam(team: TeamPolicy, linker: Linker): void {
  const { email, webhook, chat } = team.contact
  if (email === undefined && webhook === undefined && chat === undefined) {
    linker.error(['contact'], 'the team cannot be reached', 'add an email, a webhook or a chat channel')
  }
  if (team.status !== 'retired' && team.members.length === 0) {
    linker.warn(
      ['name'],
      `nobody is a member of \`${team.name}\`, so nobody can approve or review for it`,
      'add members',
    )
  }
  team.members.forEach(({ issuer, subject }, at) => {
    referToTokens(issuer, ['members', at, 'issuer'], linker)
    if (!linker.first(`member ${team.name}\n${issuer}\n${subject}`)) {
      linker.error(['members', at], 'this person is listed twice', 'remove one of the two lines')
    }
  })
}

/** What an Exception document must keep to beyond its schema. */
export function checkException(exception: ExceptionPolicy, linker: Linker): void {
  const { workload, purpose, requested_by, approved_by, relaxes, ttl } = exception
  if (linker.refer('Workload', workload, ['workload'])) {
    const known = linker.registry.Workload.get(workload)?.document.purposes.map(({ id }) => id) ?? []
    if (!known.includes(purpose)) {
      linker.error(['purpose'], `\`${workload}\` has no purpose \`${purpose}\``, `use one of ${known.join(', ')}`)
    }
  }
  if (requested_by === approved_by) {
    linker.error(['approved_by'], 'the approver asked for it, too', 'have somebody else approve it')
  }
  for (const [key, person] of [
    ['requested_by', requested_by],
    ['approved_by', approved_by],
  ] as const) {
    if (!linker.knows(person)) linker.warn([key], 'no team lists this person', 'write the `subject` of a team member')
  }
  if (relaxes === 'ttl' && ttl === undefined) {
    linker.error(['relaxes'], 'the exception does not say how long is allowed', 'add ttl: { max: … }')
  }
  if (relaxes !== 'ttl' && ttl !== undefined) {
    linker.error(['ttl'], '`ttl` goes with `relaxes: ttl` only', 'remove it')
  }
}

/** What a Guardrail document must keep to beyond its schema. */
export function checkGuardrail(guardrail: GuardrailPolicy, linker: Linker): void {
  const { applies, ttl, approval, deny, allow_static } = guardrail
  if (ttl === undefined && approval === undefined && deny === undefined && allow_static === undefined) {
    linker.error(['name'], 'the guardrail limits nothing', 'add ttl, approval, deny or allow_static')
  }
  if (typeof deny === 'string') linker.condition(deny, ['deny'])
  for (const [key, kind] of [
    ['issuer', 'Issuer'],
    ['credential', 'Credential'],
    ['workload', 'Workload'],
  ] as const) {
    const names = applies[key]
    if (typeof names === 'string') linker.refer(kind, names, ['applies', key])
    else for (const [at, name] of (names ?? []).entries()) linker.refer(kind, name, ['applies', key, at])
  }
}
