// oidc-eks.REGION.api.aws is the dual-stack name of oidc.eks.REGION.amazonaws.com.
const eks =
  /^https:\/\/(?:oidc\.eks\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?|oidc-eks\.[a-z0-9-]{1,40}\.api\.aws)\/id\/[A-Za-z0-9]{1,64}$/
const outbound = /^https:\/\/[a-z0-9-]{1,64}\.tokens\.sts\.global\.api\.aws$/

/**
 * Which service of AWS signs under this `iss`: an EKS cluster (its service account tokens), or STS for one account (outbound
 * identity federation). `undefined` when neither does.
 */
export function awsIssuer(url: string): 'eks' | 'outbound' | undefined {
  if (eks.test(url)) return 'eks'
  return outbound.test(url) ? 'outbound' : undefined
}

/** The claim that holds what STS says of the caller; its name ends in a slash. */
export const awsNamespace = 'https://sts.amazonaws.com/'

/** The audience that pods on EKS ask tokens for by default, to trade them in at STS. */
export const stsAudience = 'sts.amazonaws.com'

/** An ARN of IAM taken apart: `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`. */
export interface RoleArn {
  readonly account: string
  /** What follows `role/`: the path and the name. */
  readonly segments: readonly string[]
}

const account = /^[0-9]{12}$/
// Characters of IAM names and paths (IAM User Guide, "IAM and AWS STS quotas").
const roleSegment = /^[A-Za-z0-9+=,.@_-]{1,512}$/

/** Reads the ARN of a role; `undefined` when the text is not exactly one. */
export function parseRoleArn(text: string): RoleArn | undefined {
  if (text.length > 2048) return undefined
  const [arn, partition = '', service, region, owner = '', resource = '', ...more] = text.split(':')
  if (arn !== 'arn' || !/^aws[a-z-]{0,20}$/.test(partition) || service !== 'iam' || region !== '') return undefined
  const [kind, ...segments] = resource.split('/')
  if (more.length > 0 || !account.test(owner) || kind !== 'role' || segments.length === 0) return undefined
  return segments.every((segment) => roleSegment.test(segment)) ? { account: owner, segments } : undefined
}
