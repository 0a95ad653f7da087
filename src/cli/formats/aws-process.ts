import { jsonText } from '../terminal.ts'
import { type Format, oneOf } from './format.ts'

/**
 * The answer of a `credential_process`. Clients ask again shortly before `Expiration`; without one they never do.
 * @see AWS SDKs and Tools Reference Guide, "Process credential provider"
 */
export const awsProcess: Format = {
  name: 'aws-process',
  takes: [],
  prepare: () => (issued) => {
    const read = (...fields: readonly string[]): string => oneOf(issued, 'aws-process', ...fields)
    // Keys of an IAM user have no session; Vault says null.
    const session = ['session_token', 'security_token'].find((field) => typeof issued.secret[field] === 'string')
    return `${jsonText({
      Version: 1,
      AccessKeyId: read('access_key'),
      SecretAccessKey: read('secret_key'),
      ...(session === undefined ? {} : { SessionToken: read(session) }),
      ...(issued.expires_at === null ? {} : { Expiration: issued.expires_at }),
    })}\n`
  },
}
