import type { IssuedCredential } from '../contract/credential.ts'
import { CommandError, exit, UsageError } from './command.ts'
import { credentialsOf, type IssuedAnswer, splitPair } from './obtain.ts'

/** `--env NAME=field`, one field of the secret under a name of the caller's choice; of a set, `NAME=credential.field`. */
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
 * The credential as variables: the mapped fields, or without a mapping every field under its own name in upper case, of a set behind the
 * name of its credential; and always WRIT_GRANT and, where there is one, WRIT_TASK and WRIT_EXPIRES_AT. Of a set, WRIT_GRANT holds all
 * grants with spaces between them, and WRIT_EXPIRES_AT is when the first of them ends.
 * @throws CommandError (usage) when a mapped field is not in the secret, or an unmapped one would change what programs run.
 */
export function toVariables(issued: IssuedAnswer, mapping: Mapping): Record<string, string> {
  const chosen =
    mapping.length > 0
      ? Object.fromEntries(mapping.map(({ name, field }) => [name, fieldText(issued, field)]))
      : ownVariables(credentialsOf(issued))
  return { ...chosen, ...grantVariables(issued) }
}

/** What is known of the grants, none of it secret. */
export function grantVariables(issued: IssuedAnswer): Record<string, string> {
  const all = credentialsOf(issued)
  const task = all.find((one) => one.task !== undefined)?.task
  const [firstEnd] = all.flatMap(({ expires_at }) => expires_at ?? []).sort()
  return {
    WRIT_GRANT: all.map(({ grant }) => grant).join(' '),
    ...(task === undefined ? {} : { WRIT_TASK: task }),
    ...(firstEnd === undefined ? {} : { WRIT_EXPIRES_AT: firstEnd }),
  }
}

function ownVariables(all: readonly IssuedCredential[]): Record<string, string> {
  const variables: Record<string, string> = {}
  for (const issued of all) {
    for (const field of Object.keys(issued.secret)) {
      const name = ownName(issued, field, all.length > 1 ? `${issued.credential}_` : '')
      // A field of one credential can be called like one of another behind its name.
      if (Object.hasOwn(variables, name) && all.length > 1)
        throw new CommandError(
          exit.usage,
          `two fields of the set would be ${name}`,
          'name them: --env NAME=credential.field',
        )
      variables[name] = textOf(issued, field)
    }
  }
  return variables
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
function ownName(issued: IssuedCredential, field: string, prefix: string): string {
  const name = `${prefix}${field}`.toUpperCase().replace(/[^A-Z0-9_]/g, '_')
  if (steering.test(name)) {
    throw new CommandError(
      exit.usage,
      `the secret of ${issued.credential} has a field "${field}", and ${name} would change what programs run`,
      'name the fields you want: --env NAME=field',
    )
  }
  return name
}

/**
 * One field of the secret as text, of a set `credential.field`; lists and objects as JSON.
 * @throws CommandError (usage) naming the fields, or the credentials, there are
 */
export function fieldText(answer: IssuedAnswer, field: string): string {
  if (!('credentials' in answer)) return textOf(answer, field)
  // The name of a credential holds no dot.
  const dot = field.indexOf('.')
  const issued = answer.credentials.find(({ credential }) => credential === field.slice(0, Math.max(0, dot)))
  if (issued !== undefined) return textOf(issued, field.slice(dot + 1))
  const known = answer.credentials.map(({ credential }) => credential).join(', ')
  throw new CommandError(exit.usage, `"${field}" is no field of the set`, `write credential.field, of one of ${known}`)
}

function textOf(issued: IssuedCredential, field: string): string {
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
