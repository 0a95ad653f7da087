import { awsIssuer, awsNamespace, parseRoleArn, stsAudience } from '../../base/aws-issuer.ts'
import type { IssuerPolicy } from '../issuer.ts'
import type { ClaimRule } from '../match.ts'
import { kubernetes } from './kubernetes.ts'
import type { BreadthProblem, IssuerProblem, MatchLook, Platform } from './platform.ts'

const within = (name: string): string => `${awsNamespace}/${name}`
const remade = 'names whatever is made under that name after the first one was deleted'
const instance = within('ec2_source_instance_arn')

/** Tokens of EKS clusters and of STS for an account (see `identity/flavours/aws.ts`). */
export const aws: Platform = {
  forms: ['arn', 'aws', 'iam', 'role', ...kubernetes.forms],
  recyclable: {
    ...kubernetes.recyclable,
    [within('lambda_source_function_arn')]: { why: remade, instead: [instance] },
  },
  // Instances come and go; the role stays.
  pins: kubernetes.pins ?? [],
  owns: (url) => awsIssuer(url) !== undefined,
  issuer: ofIssuer,
  match: (look) => (awsIssuer(look.issuer.url) === 'eks' ? (kubernetes.match?.(look) ?? []) : ofRole(look)),
}

function ofIssuer({ url, audience, algorithms, environment }: IssuerPolicy): readonly IssuerProblem[] {
  const problems: IssuerProblem[] = []
  const kind = awsIssuer(url)
  if (kind === undefined) {
    problems.push({
      severity: 'error',
      path: ['url'],
      message: 'the url is neither that of an EKS cluster nor that of STS for an account',
      fix: 'write https://oidc.eks.REGION.amazonaws.com/id/… or https://….tokens.sts.global.api.aws',
    })
  }
  if ([audience].flat().includes(stsAudience)) {
    problems.push({
      severity: 'warning',
      path: ['audience'],
      message: 'tokens for AWS are taken, so whoever is given one to trade in at STS can come here with it, too',
      fix: 'ask for tokens with an audience of the broker alone',
    })
  }
  if (kind === 'outbound' && !algorithms.some((name) => name === 'RS256' || name === 'ES384')) {
    const fix = 'add RS256 or ES384'
    problems.push({ severity: 'error', path: ['algorithms'], message: 'STS signs with none of these', fix })
  }
  if (typeof environment === 'object' && environment.claim.includes('request_tags')) {
    problems.push({
      severity: 'error',
      path: ['environment', 'claim'],
      message: 'whoever asks for the token chooses its request_tags, and so would choose the environment',
      fix: `map ${awsNamespace}.aws_account`,
    })
  }
  return problems
}

function ofRole({ rules: written }: MatchLook): readonly BreadthProblem[] {
  // A way into the claim may be written with a dot, too.
  const rules = written.map((rule) => ({ ...rule, label: rule.label.replace(`${awsNamespace}.`, `${awsNamespace}/`) }))
  const find = (name: string): ClaimRule | undefined => rules.find(({ label }) => label === name)
  const problems: BreadthProblem[] = rules.flatMap(ownTraps)
  const [sub, machine, code] = [find('sub'), find(instance), find(within('lambda_source_function_arn'))]
  if (machine !== undefined && !machine.glob) return problems
  if (code !== undefined && !code.glob && sub === undefined) return [...problems, recycled(code, 'function')]
  if (sub === undefined) {
    const message = 'the match is so wide that any role of the account fits'
    return [...problems, { severity: 'error', path: undefined, message, fix: 'name the role by `sub`' }]
  }
  const pattern = String(sub.pattern)
  const fix = 'write arn:aws:iam::ACCOUNT:role/NAME'
  const [owner = '', ...segments] = pattern.split('/')
  if (owner.includes('*')) {
    return [...problems, { severity: 'error', path: sub.path, message: 'the match leaves the account open', fix }]
  }
  if (parseRoleArn(pattern.replaceAll('*', 'x')) === undefined) {
    const message = 'this is not the ARN of a role, so no token fits'
    return [...problems, { severity: 'error', path: sub.path, message, fix }]
  }
  if (segments.every((segment) => segment === '*')) {
    const message = 'the match is so wide that any role of the account fits'
    return [...problems, { severity: 'error', path: sub.path, message, fix: 'write the name of the role' }]
  }
  return [...problems, recycled(sub, 'role')]
}

/** A tag of the request is the caller's own word, and an account id is text. */
function ownTraps({ label, path, pattern }: ClaimRule): readonly BreadthProblem[] {
  if (label.startsWith(within('request_tags'))) {
    const message = 'whoever asks for the token chooses its request_tags, so they tell nobody apart'
    return [{ severity: 'warning', path, message, fix: 'use `principal_tags`, which administrators set' }]
  }
  if (label !== within('aws_account') || typeof pattern !== 'number') return []
  const message = 'AWS writes `aws_account` as text, which a number never equals'
  return [{ severity: 'error', path, message, fix: 'put it in quotes' }]
}

const recycled = ({ path }: ClaimRule, what: string): BreadthProblem => ({
  severity: 'warning',
  path,
  message: `the ${what} is matched by its ARN, which one made after it was deleted would have, too`,
  fix: `let few create a ${what} of that name, or add \`ec2_source_instance_arn\` where an instance is meant`,
})
