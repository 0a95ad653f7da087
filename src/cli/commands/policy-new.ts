import { chosenBy, routesOf } from '../../identity/route.ts'
import { isMalformed, maxTokenLength, takeApart, type UnverifiedToken } from '../../identity/token.ts'
import { type Draft, type DraftToken, draftWorkload } from '../../policy/draft/draft.ts'
import { guessFlavour } from '../../policy/draft/flavour.ts'
import { draftText } from '../../policy/draft/text.ts'
import { type IssuerPolicy, issuerSchema } from '../../policy/issuer.ts'
import type { PolicySet } from '../../policy/policy-set.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'
import { readTokenFile } from '../token/bearer.ts'
import { refuseToken, verified } from './policy-explain.ts'
import { loadOrReport } from './policy-files.ts'

const options = {
  'from-token': { type: 'string' },
  policies: { type: 'string' },
  unverified: { type: 'boolean' },
  flavour: { type: 'string' },
  name: { type: 'string' },
  owner: { type: 'string' },
  backup: { type: 'string' },
  custodian: { type: 'string' },
  purpose: { type: 'string' },
  credential: { type: 'string', multiple: true },
  because: { type: 'string' },
  environment: { type: 'string' },
  json: { type: 'boolean' },
} as const

/** `writ policy new`: the tightest Workload for a token. */
export const policyNewCommand: Command = {
  name: 'new',
  summary: 'draft the tightest Workload for a token',
  usage: `
usage: writ policy new --from-token FILE [options] > policies/workloads/NAME.yaml

Reads a token and drafts the Workload that fits it and as few other tokens as possible: ids rather than names that are given away,
the protected branch or environment, and nothing that changes from run to run. stderr has a line for each claim that had to
be used although its text may come to name somebody else. The token is never printed. The draft is \`status: proposed\`.

  --from-token FILE  the token; \`-\` reads it from standard input
  --policies DIR     policies that may hold its Issuer: then the token is verified as the broker would, and the Issuer named
                     in the draft. Without that, the SIGNATURE IS NOT CHECKED, and an Issuer document is drafted as well.
  --unverified       with --policies, take a token whose signature or times do not hold, such as an old one
  --flavour F        the platform, where its issuer does not say it:
                     ${issuerSchema.shape.flavour.unwrap().options.join(', ')}
  --name NAME        these fill in what a token cannot say; what is left out is marked TODO in the draft
  --owner TEAM
  --backup TEAM
  --custodian TEAM
  --purpose ID
  --credential NAME  may be repeated
  --because TEXT
  --environment NAME
  --json             print {"documents","warnings"}

Exit status: 0 drafted; 4 the token is not one, or is not accepted; 2 usage; 1 fault.
`,
  async run(args, io) {
    const { values } = parseOptions(args, options)
    const asJson = values.json === true
    const flavour = flavourOption(values.flavour)
    const text = await readToken(values['from-token'], io)
    const token = takeApart(text)
    if (isMalformed(token)) throw new CommandError(exit.unauthenticated, `this is not a token: ${token.problem}`)
    const set = values.policies === undefined ? undefined : await loadOrReport(values.policies, io, asJson)
    if (values.policies !== undefined && set === undefined) return exit.fault
    const chosen = set === undefined ? undefined : chosenBy(token.claims, routesOf(set.issuers))
    const issuer = chosen === undefined || 'nobody' in chosen ? undefined : chosen
    let trust = 'the signature was NOT checked, so anybody may have written this token'
    if (set !== undefined && issuer !== undefined && values.unverified !== true) {
      const found = await verified(set, text, io)
      if (found.identity === undefined) return refuseToken(found, io, asJson)
      trust = `the token was verified as one of the Issuer ${issuer.name}`
    }
    const draft = draftWorkload(draftToken(token, set, issuer, flavour), {
      ...values,
      credentials: values.credential ?? [],
    })
    show(draft, trust, io, asJson)
    return exit.done
  },
}

function flavourOption(text: string | undefined): IssuerPolicy['flavour'] | undefined {
  if (text === undefined) return undefined
  const parsed = issuerSchema.shape.flavour.safeParse(text)
  if (parsed.success) return parsed.data
  throw new UsageError('--flavour names no flavour of an Issuer; see --help')
}

async function readToken(file: string | undefined, io: Io): Promise<string> {
  if (file === undefined) throw new UsageError('--from-token is needed')
  if (file !== '-') return readTokenFile(file)
  const text = (await io.readStdin(4 * maxTokenLength)).trim()
  if (text.length <= maxTokenLength) return text
  throw new CommandError(exit.unauthenticated, `the token is longer than ${maxTokenLength} characters`)
}

function draftToken(
  { header, claims }: UnverifiedToken,
  set: PolicySet | undefined,
  issuer: IssuerPolicy | undefined,
  given: IssuerPolicy['flavour'] | undefined,
): DraftToken {
  if (issuer !== undefined) return { header, claims, issuer, named: issuer }
  const flavour = given ?? guessFlavour(claims) ?? 'generic'
  const taken = new Set(set?.issuers.map(({ name }) => name))
  let name: string = flavour
  for (let count = 2; taken.has(name); count++) name = `${flavour}-${count}`
  return { header, claims, named: { name, flavour } }
}

function show(draft: Draft, trust: string, io: Io, asJson: boolean): void {
  if (asJson) writeJson(io, draft)
  else io.stdout(draftText(draft))
  io.stderr(`${trust}\n${draft.warnings.map((warning) => `warning: ${printable(warning)}\n`).join('')}`)
}
