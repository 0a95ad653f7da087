import { awsIssuer, awsNamespace, parseRoleArn } from '../../base/aws-issuer.ts'
import { type Finding, failed, passed, shown } from '../check.ts'
import { member } from '../claim.ts'
import type { Claims } from '../identity.ts'
import type { Flavour } from './flavour.ts'
import { kubernetes } from './kubernetes.ts'

const instanceArn = /^arn:aws[a-z-]{0,20}:ec2:[a-z0-9-]{1,40}:[0-9]{12}:instance\/(i-[0-9a-f]{8,32})$/
// Where IAM Identity Center puts the roles that people sign in to.
const peoplePath = ['aws-reserved', 'sso.amazonaws.com'] as const

/**
 * Tokens that AWS signs, of two kinds that `iss` tells apart. An EKS cluster signs service account tokens, held to the rules of
 * Kubernetes, with the pod as the run. STS signs for the roles of one account (IAM User Guide, "Understanding token claims",
 * outbound identity federation): `sub` is the ARN of a role of the account named under `https://sts.amazonaws.com/`, never of a
 * role for people; the EC2 instance is the run. A token of either kind is for one audience.
 */
export const aws: Flavour = {
  name: 'aws',
  types: ['jwt'],
  check(claims, issuer) {
    const kind = awsIssuer(String(claims.iss))
    if (kind === undefined) {
      return [
        failed('token_invalid', 'aws.issuer', `${shown(claims.iss)} is neither an EKS cluster nor STS of an account`),
      ]
    }
    const alone = oneAudience(claims)
    if (alone.code !== undefined) return [alone]
    return kind === 'eks' ? [alone, ...kubernetes.check(claims, issuer)] : [alone, ...caller(claims)]
  },
  run(claims) {
    if (awsIssuer(String(claims.iss)) === 'eks') return kubernetes.run(claims)
    const arn = member(claims[awsNamespace], 'ec2_source_instance_arn')
    const id = typeof arn === 'string' ? instanceArn.exec(arn)?.[1] : undefined
    return id === undefined ? undefined : `instance/${id}`
  },
}

function oneAudience({ aud }: Claims): Finding {
  return Array.isArray(aud) && aud.length !== 1
    ? failed('token_invalid', 'aws.audience', 'it has several audiences, each of which could present it here')
    : passed('aws.audience', 'it is for one audience')
}

function caller(claims: Claims): readonly Finding[] {
  const role = parseRoleArn(String(claims.sub))
  if (role === undefined)
    return [failed('token_invalid', 'aws.subject', `${shown(claims.sub)} is not the ARN of a role`)]
  const subject = passed('aws.subject', 'sub is the ARN of a role')
  const said = claims[awsNamespace]
  const account = member(said, 'aws_account')
  if (account !== role.account) {
    const detail = `sub is of account ${shown(role.account)}, aws_account says ${shown(account)}`
    return [subject, failed('token_invalid', 'aws.account', detail)]
  }
  const same = passed('aws.account', 'sub and aws_account name the same account')
  const person = peoplePath.every((name, at) => role.segments[at] === name)
  if (person || member(said, 'identity_store_user_id') !== undefined) {
    return [subject, same, failed('token_invalid', 'aws.workload', 'the role is one that people sign in to')]
  }
  return [subject, same, passed('aws.workload', 'no person of IAM Identity Center is named'), instance(claims)]
}

/** The EC2 instance that the credentials of the role were delivered to, where there is one. */
function instance(claims: Claims): Finding {
  const rule = 'aws.instance'
  const arn = member(claims[awsNamespace], 'ec2_source_instance_arn')
  if (arn === undefined || arn === '') return passed(rule, 'it names no instance')
  return typeof arn === 'string' && instanceArn.test(arn)
    ? passed(rule, 'it names an instance')
    : failed('token_invalid', rule, `${shown(arn)} is not an instance`)
}
