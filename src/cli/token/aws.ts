import { messageOf } from '../../base/errors.ts'
import { type Answer, ask } from './ask.ts'
import { awsKeys, awsRegion } from './aws-keys.ts'
import { checked, meantFor, noToken, readTokenFile } from './bearer.ts'
import { machineSign } from './machine.ts'
import type { Platform, Setting } from './platform.ts'

const lifeSeconds = 300

/**
 * AWS: the projected file of EKS when it is for the broker, else outbound identity federation: STS signs a token for the role
 * whose keys the platform gives (docs.aws.amazon.com, "GetWebIdentityToken"). Static keys in the environment are no sign: they
 * are set on many a laptop.
 */
export const aws: Platform = {
  name: 'aws',
  async sign(setting) {
    const { webIdentityFile, lambda, containerPath, containerUrl, metadataDisabled } = setting.environment.platform.aws
    if (webIdentityFile !== undefined) return 'AWS_WEB_IDENTITY_TOKEN_FILE is set'
    if (lambda) return 'AWS_LAMBDA_FUNCTION_NAME is set'
    if (containerPath !== undefined) return 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set'
    if (containerUrl !== undefined) return 'AWS_CONTAINER_CREDENTIALS_FULL_URI is set'
    return metadataDisabled ? undefined : machineSign('aws', setting)
  },
  async token(setting) {
    const { webIdentityFile } = setting.environment.platform.aws
    if (webIdentityFile === undefined) return fromSts(setting)
    return meantFor(
      await readTokenFile(webIdentityFile),
      setting.audience,
      'the token in AWS_WEB_IDENTITY_TOKEN_FILE',
      'mount a projected token of that audience at /var/run/secrets/tokens/writ, or unset the variable for writ',
    )
  },
}

async function fromSts({ environment, audience }: Setting): Promise<string> {
  const variables = environment.platform.aws
  let answer: Answer
  try {
    const region = await awsRegion(variables)
    const place = variables.stsUrl ?? `https://sts.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/`
    if (!URL.canParse(place)) throw new Error('AWS_ENDPOINT_URL_STS is not a URL')
    const { url, ...question } = await signed(new URL(place), region, audience, await awsKeys(variables))
    answer = await ask(url, question)
  } catch (cause) {
    throw failed(messageOf(cause), cause)
  }
  if (answer.status !== 200) throw failed(`STS answered ${answer.status}${reasonOf(answer)}`)
  const token = between(answer.text, '<WebIdentityToken>', '</WebIdentityToken>')
  if (token === undefined) throw failed('the answer of STS holds none')
  return checked(token, 'the answer of STS')
}

/** The request as STS wants it: the Query API of 2011-06-15 under Signature Version 4. */
async function signed(url: URL, region: string, audience: string, keys: Awaited<ReturnType<typeof awsKeys>>) {
  // Loaded here alone: no other platform needs it.
  const { AwsV4Signer } = await import('aws4fetch')
  const body = new URLSearchParams({
    Action: 'GetWebIdentityToken',
    Version: '2011-06-15',
    'Audience.member.1': audience,
    // The one of the two that every Issuer document takes unless it says otherwise.
    SigningAlgorithm: 'RS256',
    DurationSeconds: String(lifeSeconds),
  }).toString()
  const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
  const signer = new AwsV4Signer({ method: 'POST', url: url.href, headers, body, service: 'sts', region, ...keys })
  const result = await signer.sign()
  return { url: result.url, method: 'POST', headers: Object.fromEntries(result.headers), body } as const
}

/** The code of an error answer, such as `AccessDenied`; it is for people, and short plain text or nothing. */
function reasonOf({ text }: Answer): string {
  const code = between(text, '<Code>', '</Code>')
  return code !== undefined && /^[A-Za-z.]{1,80}$/.test(code) ? ` (${code})` : ''
}

function between(text: string, start: string, end: string): string | undefined {
  const from = text.indexOf(start)
  const to = text.indexOf(end, from)
  return from === -1 || to === -1 ? undefined : text.slice(from + start.length, to)
}

const failed = (why: string, cause?: unknown): Error =>
  noToken(
    `AWS gave no identity token: ${why}`,
    'enable outbound identity federation in the account, allow the role sts:GetWebIdentityToken, and set AWS_REGION',
    cause,
  )
