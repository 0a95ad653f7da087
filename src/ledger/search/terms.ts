/**
 * All that an entry can be found by: fields that name one thing, the `subject` of its actor or of the signal it is, and `id`, any public identifier of what
 * was minted (database user, certificate serial, SSH key id, …) or the hash of its lease. Those that say most come first.
 */
export const termNames = [
  'id',
  'grant',
  'request',
  'token',
  'jkt',
  'task',
  'approval',
  'composite',
  'revocation',
  'subject',
  'workload',
  'purpose',
  'credential',
  'code',
  'owner',
  'policy',
  'kind',
  'environment',
] as const
export type TermName = (typeof termNames)[number]

/** What is asked of an entry: that it has one of these values under this name. */
export interface Condition {
  readonly name: TermName
  readonly anyOf: readonly string[]
}

/** An entry, or the JSON of one that nobody has checked. */
type Fields = Readonly<Record<string, unknown>>

/** Whether an entry meets every condition. */
export const meets = (entry: Fields, conditions: readonly Condition[]): boolean =>
  conditions.every(({ name, anyOf }) => valuesOf(entry, name).some((value) => anyOf.includes(value)))

function valuesOf(entry: Fields, name: TermName): readonly string[] {
  if (name === 'subject') return texts(fieldsOf(entry.actor).subject, entry.subject)
  if (name !== 'id') return texts(entry[name])
  const ids = Array.isArray(entry.ids) ? entry.ids.map((id: unknown) => fieldsOf(id).value) : []
  return texts(...ids, fieldsOf(entry.lease).hash, entry.lease_hash)
}

const texts = (...values: readonly unknown[]): readonly string[] => values.filter((value) => typeof value === 'string')
const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? { ...value } : {})

/** Calls `each` with the hash of everything the entry can be found by. */
export function eachTermHash(entry: Fields, each: (hash: number) => void): void {
  for (const name of termNames) for (const value of valuesOf(entry, name)) each(termHash(name, value))
}

/**
 * 32 bits of a name and a value (FNV-1a). Two that share a hash cost a look at a bundle for nothing, so it need not resist anybody:
 * what a hash leads to is always read and compared.
 */
export const termHash = (name: TermName, value: string): number => fnv1a(value, seeds[name]) >>> 0

function fnv1a(text: string, from: number): number {
  let hash = from
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}

const seeds = Object.fromEntries(termNames.map((name) => [name, fnv1a(`${name}=`, 0x811c9dc5)])) as Record<
  TermName,
  number
>

/**
 * Bytes that the canonical JSON of every entry with that value holds. Most entries without it do not hold them, so that looking
 * for them spares parsing.
 */
export function needleOf(name: TermName, value: string): Buffer {
  const text = JSON.stringify(value)
  return Buffer.from(name === 'id' ? text : `"${name}":${text}`)
}
