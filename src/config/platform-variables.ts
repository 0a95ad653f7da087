import { Secret } from '../base/secret.ts'

/** What platforms tell a workload through its environment, for `cli/token/`: how to come by a token of its own. */
export interface PlatformVariables {
  /** `ACTIONS_ID_TOKEN_REQUEST_URL` and `…_TOKEN`: set by GitHub where a job may ask for a token. */
  readonly githubActions: { readonly url: string; readonly token: Secret<string> } | undefined
  /** `GITLAB_CI`; the token is that of `id_tokens: { WRIT_ID_TOKEN: … }`. */
  readonly gitlab: { readonly token: Secret<string> | undefined } | undefined
  /** `TFC_WORKLOAD_IDENTITY_TOKEN_WRIT`, else `TFC_WORKLOAD_IDENTITY_TOKEN`: a run of HCP Terraform. */
  readonly terraform: { readonly variable: string; readonly token: Secret<string> } | undefined
  /** `BUILDKITE=true`. */
  readonly buildkite: boolean
  /** `CIRCLECI=true`. */
  readonly circleci: boolean
  /** `KUBERNETES_SERVICE_HOST`: this runs in a pod, where the machine is somebody else's. */
  readonly inPod: boolean
  /** `SPIFFE_ENDPOINT_SOCKET`. */
  readonly spiffeSocket: string | undefined
  readonly aws: AwsVariables
  readonly azure: AzureVariables
  readonly google: GoogleVariables
}

/** The names the AWS SDKs read, with their meaning. */
export interface AwsVariables {
  /** `AWS_WEB_IDENTITY_TOKEN_FILE`. */
  readonly webIdentityFile: string | undefined
  /** `AWS_LAMBDA_FUNCTION_NAME`: the keys in the environment are those of the function. */
  readonly lambda: boolean
  readonly accessKeyId: string | undefined
  readonly secretAccessKey: Secret<string> | undefined
  readonly sessionToken: Secret<string> | undefined
  /** `AWS_REGION`, else `AWS_DEFAULT_REGION`. */
  readonly region: string | undefined
  /** `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` and `AWS_CONTAINER_CREDENTIALS_FULL_URI`. */
  readonly containerPath: string | undefined
  readonly containerUrl: string | undefined
  /** `AWS_CONTAINER_AUTHORIZATION_TOKEN` and `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`. */
  readonly containerToken: Secret<string> | undefined
  readonly containerTokenFile: string | undefined
  /** `AWS_EC2_METADATA_DISABLED=true`, and `AWS_EC2_METADATA_SERVICE_ENDPOINT`. */
  readonly metadataDisabled: boolean
  readonly metadataUrl: string | undefined
  /** `AWS_ENDPOINT_URL_STS`. */
  readonly stsUrl: string | undefined
}

/** The names the Azure SDKs read. */
export interface AzureVariables {
  /** `AZURE_FEDERATED_TOKEN_FILE`. */
  readonly federatedFile: string | undefined
  /** `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`: App Service, Functions, Container Apps. */
  readonly identity: { readonly url: string; readonly header: Secret<string> } | undefined
  /** `AZURE_CLIENT_ID`: which managed identity, where there are several. */
  readonly clientId: string | undefined
  /** `AZURE_POD_IDENTITY_AUTHORITY_HOST`: another place of the instance metadata service. */
  readonly metadataUrl: string | undefined
}

/** The names the Google libraries read. */
export interface GoogleVariables {
  /** `GCE_METADATA_HOST`. */
  readonly metadataHost: string | undefined
  /** The name of the variable of Cloud Run (`K_SERVICE`, `CLOUD_RUN_JOB`) or App Engine (`GAE_ENV`) that is set. */
  readonly serverless: string | undefined
}

type Text = (name: string) => string | undefined

/** Looks the variables up; `text` answers nothing for an empty one. */
export function readPlatformVariables(text: Text): PlatformVariables {
  const secret = (name: string): Secret<string> | undefined => {
    const value = text(name)
    return value === undefined ? undefined : new Secret(value)
  }
  const pair = (url: string, key: string): { readonly url: string; readonly secret: Secret<string> } | undefined => {
    const [place, value] = [text(url), secret(key)]
    return place === undefined || value === undefined ? undefined : { url: place, secret: value }
  }
  const actions = pair('ACTIONS_ID_TOKEN_REQUEST_URL', 'ACTIONS_ID_TOKEN_REQUEST_TOKEN')
  return Object.freeze({
    githubActions: actions === undefined ? undefined : { url: actions.url, token: actions.secret },
    gitlab: text('GITLAB_CI') === undefined ? undefined : { token: secret('WRIT_ID_TOKEN') },
    terraform: ['TFC_WORKLOAD_IDENTITY_TOKEN_WRIT', 'TFC_WORKLOAD_IDENTITY_TOKEN']
      .map((variable) => ({ variable, token: secret(variable) }))
      .find((found): found is { variable: string; token: Secret<string> } => found.token !== undefined),
    buildkite: text('BUILDKITE') === 'true',
    circleci: text('CIRCLECI') === 'true',
    inPod: text('KUBERNETES_SERVICE_HOST') !== undefined,
    spiffeSocket: text('SPIFFE_ENDPOINT_SOCKET'),
    aws: Object.freeze({
      webIdentityFile: text('AWS_WEB_IDENTITY_TOKEN_FILE'),
      lambda: text('AWS_LAMBDA_FUNCTION_NAME') !== undefined,
      accessKeyId: text('AWS_ACCESS_KEY_ID'),
      secretAccessKey: secret('AWS_SECRET_ACCESS_KEY'),
      sessionToken: secret('AWS_SESSION_TOKEN'),
      region: text('AWS_REGION') ?? text('AWS_DEFAULT_REGION'),
      containerPath: text('AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'),
      containerUrl: text('AWS_CONTAINER_CREDENTIALS_FULL_URI'),
      containerToken: secret('AWS_CONTAINER_AUTHORIZATION_TOKEN'),
      containerTokenFile: text('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'),
      metadataDisabled: text('AWS_EC2_METADATA_DISABLED')?.toLowerCase() === 'true',
      metadataUrl: text('AWS_EC2_METADATA_SERVICE_ENDPOINT'),
      stsUrl: text('AWS_ENDPOINT_URL_STS'),
    }),
    azure: azure(text, pair('IDENTITY_ENDPOINT', 'IDENTITY_HEADER')),
    google: Object.freeze({
      metadataHost: text('GCE_METADATA_HOST'),
      serverless: ['K_SERVICE', 'CLOUD_RUN_JOB', 'GAE_ENV'].find((name) => text(name) !== undefined),
    }),
  })
}

function azure(text: Text, identity: { url: string; secret: Secret<string> } | undefined): AzureVariables {
  return Object.freeze({
    federatedFile: text('AZURE_FEDERATED_TOKEN_FILE'),
    identity: identity === undefined ? undefined : { url: identity.url, header: identity.secret },
    clientId: text('AZURE_CLIENT_ID'),
    metadataUrl: text('AZURE_POD_IDENTITY_AUTHORITY_HOST'),
  })
}
