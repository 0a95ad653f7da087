import type { IssuedCredential } from '../contract/credential.ts'
import { CommandError, exit, UsageError } from './command.ts'
import { splitPair } from './obtain.ts'

/** `--env NAME=field`, one field of the secret under a name of the caller's choice. */
export type Mapping = readonly { readonly name: string; readonly field: string }[]

export const isVariable = (name: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)

/** Parses `--env` options. @throws UsageError when a name could not be a variable. */
export function parseMapping(pairs: readonly string[]): Mapping {
  return pairs.map((pair) => {
    const [name, field] = splitPair('--env', pair)
    if (!isVariable(name)) throw new UsageError('--env takes NAME=field, where NAME is a variable')
    if (field === '') throw new UsageError('--env takes NAME=field, where field is one of the secret')
    return { name, field }
  })
}

/**
 * The credential as variables: the mapped fields, or without a mapping every field under its own name in upper case;
 * and always WRIT_GRANT and, where there is one, WRIT_TASK and WRIT_EXPIRES_AT.
 * @throws CommandError (usage) when a mapped field is not in the secret, or an unmapped one would change what programs run.
 */
export function toVariables(issued: IssuedCredential, mapping: Mapping): Record<string, string> {
  const chosen = mapping.length > 0 ? mapping : Object.keys(issued.secret).map((field) => ownName(issued, field))
  return {
    ...Object.fromEntries(chosen.map(({ name, field }) => [name, fieldText(issued, field)])),
    ...grantVariables(issued),
  }
}

/** What is known of the grant, none of it secret. */
export function grantVariables(issued: IssuedCredential): Record<string, string> {
  return {
    WRIT_GRANT: issued.grant,
    ...(issued.task === undefined ? {} : { WRIT_TASK: issued.task }),
    ...(issued.expires_at === null ? {} : { WRIT_EXPIRES_AT: issued.expires_at }),
  }
}

// Variables by which loaders, shells and interpreters decide what to run, and clients whom to trust and talk through.
const steering = new RegExp(
  `^(?:${[
    '(?:LD|DYLD|BASH|NODE|NPM|PYTHON|PERL5?|RUBY|JAVA|_JAVA|JDK|GIT|SSH|GCONV|MALLOC|GLIBC|WRIT|OPENSSL|SSL|CURL)_.*',
    'PYTHON.*|PERL.*|RUBY.*|CLASSPATH|PATH|HOME|SHELL|ENV|IFS|CDPATH|PS[0-4]|PROMPT_COMMAND|TMPDIR|EDITOR|VISUAL|PAGER',
    '(?:HTTPS?|ALL|NO|FTP)_PROXY|LOCPATH|NLSPATH|TERMINFO|HOSTALIASES|RESOLV_HOST_CONF',
  ].join('|')})$`,
)

/** Whoever may write the secret in Vault chooses the names of its fields, and must not choose what runs here. */
function ownName(issued: IssuedCredential, field: string): Mapping[number] {
  const name = field.toUpperCase().replace(/[^A-Z0-9_]/g, '_')
  if (steering.test(name)) {
    throw new CommandError(
      exit.usage,
      `the secret of ${issued.credential} has a field "${field}", and ${name} would change what programs run`,
      'name the fields you want: --env NAME=field',
    )
  }
  return { name, field }
}

/** One field of the secret as text; lists and objects as JSON. @throws CommandError (usage) naming the fields there are. */
export function fieldText(issued: IssuedCredential, field: string): string {
  const value = Object.hasOwn(issued.secret, field) ? issued.secret[field] : undefined
  if (value === undefined) {
    const known = Object.keys(issued.secret).join(', ')
    throw new CommandError(exit.usage, `the secret of ${issued.credential} has no field "${field}"`, `it has: ${known}`)
  }
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  // No variable and no line can hold a NUL, and cutting a secret short would be worse than refusing.
  if (text.includes('\0')) throw new CommandError(exit.fault, `the field "${field}" holds a NUL character`)
  return text
}

/** `NAME=value` lines that a POSIX shell reads back unchanged; plain values stay unquoted, as an env file wants them. */
export function toShell(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(
      ([name, value]) => `${name}=${/^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`}\n`,
    )
    .join('')
}
