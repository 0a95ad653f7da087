import type { AwsVariables } from '../../config/platform-variables.ts'
import { type Answer, ask, type Question, textMember } from './ask.ts'
import { maxTokenBytes, readBounded } from './bearer.ts'

/** Keys of a role for some hours, as the platform gives them. */
export interface AwsKeys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

const metadataDefault = 'http://169.254.169.254'
const containerHost = 'http://169.254.170.2'
const credentials = '/latest/meta-data/iam/security-credentials/'

/**
 * The keys this workload has: those in the environment (Lambda, or a person's), of its container (ECS, EKS Pod Identity), or
 * of its machine (EC2, IMDSv2 only). Profiles, SSO and roles to be assumed are for the AWS CLI.
 * @throws Error that says why in a few words and holds nothing of a key.
 */
export async function awsKeys(variables: AwsVariables): Promise<AwsKeys> {
  const { accessKeyId, secretAccessKey, sessionToken } = variables
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    const session = sessionToken === undefined ? {} : { sessionToken: sessionToken.reveal() }
    return { accessKeyId, secretAccessKey: secretAccessKey.reveal(), ...session }
  }
  const { containerPath, containerUrl, metadataDisabled } = variables
  if (containerPath !== undefined) return keysIn(await local(`${containerHost}${containerPath}`, {}))
  if (containerUrl !== undefined) return ofContainer(containerUrl, variables)
  if (metadataDisabled) throw new Error('there are no keys, and AWS_EC2_METADATA_DISABLED is true')
  const session = await imdsSession(variables)
  const role = (await imds(variables, credentials, session)).text.trim()
  if (!/^[\w+=,.@-]{1,64}$/.test(role)) throw new Error('the instance has no role')
  return keysIn(await imds(variables, `${credentials}${role}`, session))
}

/** The region to ask: STS signs tokens at its regional endpoints alone. */
export async function awsRegion(variables: AwsVariables): Promise<string> {
  const { region, containerPath, containerUrl, metadataDisabled } = variables
  const onMachine = containerPath === undefined && containerUrl === undefined && !metadataDisabled
  if (region === undefined && !onMachine) throw new Error('AWS_REGION is not set')
  const found =
    region ?? (await imds(variables, '/latest/meta-data/placement/region', await imdsSession(variables))).text.trim()
  // It becomes part of the name of a host.
  if (!/^[a-z0-9-]{1,32}$/.test(found)) throw new Error('the region is not the name of one')
  return found
}

async function ofContainer(place: string, variables: AwsVariables): Promise<AwsKeys> {
  const { containerToken, containerTokenFile } = variables
  if (!URL.canParse(place) || !mayGiveKeys(new URL(place))) {
    throw new Error('AWS_CONTAINER_CREDENTIALS_FULL_URI names no address that may give keys')
  }
  const given =
    containerTokenFile === undefined ? containerToken?.reveal() : await readBounded(containerTokenFile, maxTokenBytes)
  const authorization = given?.trim() ?? ''
  if (/[\r\n]/.test(authorization)) throw new Error('the authorization token of the container is not one line')
  return keysIn(await local(place, authorization === '' ? {} : { headers: { authorization } }))
}

/** As the AWS SDKs have it: anything over TLS; without it this machine and the addresses of ECS and EKS alone. */
function mayGiveKeys({ protocol, hostname }: URL): boolean {
  if (protocol === 'https:') return true
  const known = ['localhost', '127.0.0.1', '[::1]', '169.254.170.2', '169.254.170.23', '[fd00:ec2::23]']
  return protocol === 'http:' && known.includes(hostname)
}

async function imdsSession(variables: AwsVariables): Promise<string> {
  const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': '60', 'content-length': '0' }
  const { text } = await local(`${rootOf(variables)}/latest/api/token`, { method: 'PUT', headers })
  if (!/^[\w+/=-]{1,256}$/.test(text)) throw new Error('the metadata service of the instance gave no session')
  return text
}

const imds = (variables: AwsVariables, path: string, session: string): Promise<Answer> =>
  local(`${rootOf(variables)}${path}`, { headers: { 'x-aws-ec2-metadata-token': session } })

const rootOf = ({ metadataUrl }: AwsVariables): string => (metadataUrl ?? metadataDefault).replace(/\/$/, '')

async function local(place: string, question: Question): Promise<Answer> {
  if (!URL.canParse(place)) throw new Error('the address of the metadata service is not a URL')
  const answer = await ask(new URL(place), { ...question, local: true })
  if (answer.status !== 200) throw new Error(`where the keys are, the answer was ${answer.status}`)
  return answer
}

function keysIn(answer: Answer): AwsKeys {
  const accessKeyId = textMember(answer, 'AccessKeyId')
  const secretAccessKey = textMember(answer, 'SecretAccessKey')
  const sessionToken = textMember(answer, 'Token')
  if (accessKeyId === undefined || secretAccessKey === undefined || sessionToken === undefined) {
    throw new Error('the answer where the keys are holds none')
  }
  return { accessKeyId, secretAccessKey, sessionToken }
}
