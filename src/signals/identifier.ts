import { ok, type Result, refuse } from '../base/result.ts'
import type { Claim, Claims } from '../identity/identity.ts'
import { isObject } from './event.ts'

/** One name of a subject; `iss` where the identifier says whose name it is. All text is the sender's. */
export interface Identifier {
  readonly iss: string | undefined
  readonly text: string
}

const mostIdentifiers = 20
const longestText = 512

/** The member of each simple format that holds the name (RFC 9493 section 3.2). */
const members: Readonly<Record<string, string>> = {
  account: 'uri',
  did: 'url',
  email: 'email',
  iss_sub: 'sub',
  opaque: 'id',
  phone_number: 'phone_number',
  uri: 'uri',
}

/** Members of a complex subject (SSF 1.0 section 3.3) that can be somebody the policies know; sessions and tenants cannot. */
const complexMembers = ['user', 'device', 'application'] as const

/**
 * Every name by which a SET calls its subject: its `sub_id` (SSF 1.0 section 4.1.1), or the `sub` of RFC 8417, which is a name of
 * the SET's own issuer. Formats that nobody here knows give no name. Refuses `request_invalid` for what is not an identifier.
 */
export function readSubject({ sub_id: subject, sub, iss }: Claims): Result<readonly Identifier[]> {
  if (subject === undefined && typeof sub === 'string' && typeof iss === 'string') return bounded([{ iss, text: sub }])
  if (!isObject(subject) || sub !== undefined) return invalid('there is not exactly one subject')
  if (subject.format !== 'complex') return readOne(subject, true)
  const found: Identifier[] = []
  for (const name of complexMembers) {
    const part = subject[name]
    if (part === undefined) continue
    const read = readOne(part, true)
    if (!read.ok) return read
    found.push(...read.value)
  }
  return bounded(found)
}

function readOne(value: Claim, mayHaveAliases: boolean): Result<readonly Identifier[]> {
  if (!isObject(value) || typeof value.format !== 'string') return invalid('an identifier has no format')
  const { format } = value
  if (format === 'aliases') {
    // Aliases within aliases are forbidden (RFC 9493 section 3.2.8).
    if (!mayHaveAliases || !Array.isArray(value.identifiers)) return invalid('the aliases are not a list')
    if (value.identifiers.length > mostIdentifiers) return invalid(`more than ${mostIdentifiers} aliases`)
    const found: Identifier[] = []
    for (const alias of value.identifiers as readonly Claim[]) {
      const read = readOne(alias, false)
      if (!read.ok) return read
      found.push(...read.value)
    }
    return bounded(found)
  }
  if (!Object.hasOwn(members, format)) return ok([])
  const text = value[members[format] ?? '']
  if (typeof text !== 'string' || text === '') return invalid('an identifier lacks its member')
  if (format !== 'iss_sub')
    return bounded([{ iss: undefined, text: format === 'account' ? withoutScheme(text) : text }])
  return typeof value.iss === 'string' ? bounded([{ iss: value.iss, text }]) : invalid('an identifier lacks its member')
}

const withoutScheme = (uri: string): string => (uri.startsWith('acct:') ? uri.slice(5) : uri)

const bounded = (found: readonly Identifier[]): Result<readonly Identifier[]> =>
  found.every(({ text }) => text.length <= longestText && text.isWellFormed())
    ? ok(found)
    : invalid(`an identifier has more than ${longestText} characters`)

const invalid = (detail: string): Result<never> => refuse('request_invalid', 'subject', detail)
