import { nearest } from '../../base/nearest.ts'
import type { CredentialRequest } from '../../contract/credential.ts'
import { UsageError } from '../command.ts'
import { awsProcess } from './aws-process.ts'
import { docker } from './docker.ts'
import { env } from './env.ts'
import { execCredential } from './exec-credential.ts'
import type { Format, FormatOption, FormatValues } from './format.ts'
import { json } from './json.ts'
import { kubeconfig } from './kubeconfig.ts'
import { myCnf } from './my-cnf.ts'
import { pem } from './pem.ts'
import { pgpass } from './pgpass.ts'
import { pgService } from './pgservice.ts'
import { raw } from './raw.ts'

const formats: readonly Format[] = [
  json,
  env,
  pgpass,
  pgService,
  myCnf,
  awsProcess,
  kubeconfig,
  execCredential,
  docker,
  pem,
]

/** The lines of a help text that explain the formats and `formatOptions`. */
export const formatHelp = `formats, the fields of the secret they need, and further options:
  json                the whole answer
  env                 NAME=value lines for a shell
  raw:FIELD           one field alone, exactly
  pgpass              PGPASSFILE; username, password; --host (localhost), --port (any), --database (any)
  pg-service          PGSERVICEFILE, a service named after the credential; username, password; --host, --port, --database
  my-cnf              --defaults-file of mysql and mariadb; username, password; --host, --port, --database
  aws-process         what credential_process prints; access_key, secret_key, session_token or security_token
  kubeconfig          KUBECONFIG; service_account_token or token, or certificate and private_key; --server URL,
                      --ca FILE, --namespace N
  exec-credential     what an exec plugin of a kubeconfig prints; as kubeconfig
  docker              config.json in DOCKER_CONFIG; username, password; --registry HOST
  pem                 certificate, chain and key in one; certificate, ca_chain or issuing_ca, private_key where there is one`

/** The format of that name. @throws UsageError naming `option` and the nearest there is */
export function formatNamed(option: string, text: string): Format {
  if (/^raw:./.test(text)) return raw(text.slice('raw:'.length))
  const found = formats.find(({ name }) => name === text)
  if (found !== undefined) return found
  const names = [...formats.map(({ name }) => name), 'raw:FIELD']
  const guess = nearest(text, names)
  throw new UsageError(
    `${option} is ${guess === undefined ? `one of ${names.join(', ')}` : `not "${text}"; did you mean ${guess}?`}`,
  )
}

/** @throws UsageError for an option that none of the chosen formats takes */
export function refuseUnused(values: FormatValues, chosen: readonly Format[]): void {
  for (const option of Object.keys(values) as FormatOption[]) {
    const takers = formats.filter(({ takes }) => takes.includes(option))
    if (takers.length > 0 && values[option] !== undefined && !chosen.some(({ takes }) => takes.includes(option))) {
      throw new UsageError(`--${option} goes with ${takers.map(({ name }) => name).join(', ')}`)
    }
  }
}

/**
 * Fields of a wrapped secret are still hidden, so only what shows the wrapping itself is left; and most clients read one credential.
 * @throws UsageError
 */
export function refuseUnfit(
  { delivery, credential }: CredentialRequest,
  option: string,
  { name, sets }: { readonly name: string; readonly sets?: true },
): void {
  if (sets) return
  if (delivery === 'wrapped') {
    throw new UsageError(`${option}: ${name} needs the fields of the secret, and --delivery wrapped hides them`)
  }
  if (Array.isArray(credential)) throw new UsageError(`${option}: ${name} holds one credential`)
}
