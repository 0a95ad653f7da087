import { messageOf } from '../../base/errors.ts'
import type { AzureVariables } from '../../config/platform-variables.ts'
import { type Answer, ask, textMember } from './ask.ts'
import { checked, meantFor, noToken, readTokenFile } from './bearer.ts'
import { machineSign } from './machine.ts'
import type { Platform } from './platform.ts'

/**
 * Azure: the projected file of workload identity federation, else a managed identity, through the endpoint of App Service and
 * Container Apps or the instance metadata service (learn.microsoft.com, "managed identities"). The resource is the audience,
 * so the broker has to be an application of the tenant whose identifier URI that is.
 */
export const azure: Platform = {
  name: 'azure',
  async sign(setting) {
    const { federatedFile, identity } = setting.environment.platform.azure
    if (federatedFile !== undefined) return 'AZURE_FEDERATED_TOKEN_FILE is set'
    return identity === undefined ? machineSign('azure', setting) : 'IDENTITY_ENDPOINT and IDENTITY_HEADER are set'
  },
  async token({ environment, audience }) {
    const { azure: variables } = environment.platform
    if (variables.federatedFile !== undefined) return federated(variables.federatedFile, audience)
    const { url, headers } = endpointOf(variables)
    url.searchParams.set('resource', audience)
    if (variables.clientId !== undefined) url.searchParams.set('client_id', variables.clientId)
    let answer: Answer
    try {
      answer = await ask(url, { headers, local: true })
    } catch (cause) {
      throw failed(audience, messageOf(cause), cause)
    }
    if (answer.status !== 200) throw failed(audience, `it answered ${answer.status}`)
    const token = textMember(answer, 'access_token')
    if (token === undefined) throw failed(audience, 'its answer holds none')
    return checked(token, 'the answer of the managed identity')
  },
}

async function federated(file: string, audience: string): Promise<string> {
  return meantFor(
    await readTokenFile(file),
    audience,
    'the token in AZURE_FEDERATED_TOKEN_FILE',
    'mount a projected token of that audience at /var/run/secrets/tokens/writ, or unset the variable for writ',
  )
}

function endpointOf({ identity, metadataUrl }: AzureVariables): { url: URL; headers: Record<string, string> } {
  const [place, name, version, headers] =
    identity === undefined
      ? [
          `${(metadataUrl ?? 'http://169.254.169.254').replace(/\/$/, '')}/metadata/identity/oauth2/token`,
          'AZURE_POD_IDENTITY_AUTHORITY_HOST',
          '2018-02-01',
          { metadata: 'true' },
        ]
      : [identity.url, 'IDENTITY_ENDPOINT', '2019-08-01', { 'x-identity-header': identity.header.reveal() }]
  if (!URL.canParse(place)) throw noToken(`${name} is not a URL`)
  const url = new URL(place)
  url.searchParams.set('api-version', version)
  return { url, headers }
}

const failed = (audience: string, why: string, cause?: unknown): Error =>
  noToken(
    `the managed identity of Azure gave no token: ${why}`,
    `register the broker in the tenant with the identifier URI ${audience} (or name its own with --audience); AZURE_CLIENT_ID chooses among several identities`,
    cause,
  )
