import { NoteError, openNote, parseVkey, type SigningKey, signNote, splitNote, type VerifierKey } from './note.ts'

const header = 'writ.dev/ledger-key-rotation@v1'
/** Greatest size of a statement, in characters: two names, two keys and a signature. */
export const maxStatementLength = 2048

/**
 * The statement with which a log passes from the key that has signed it to a new one: a C2SP signed note of three lines, the kind of
 * statement, the origin and the new verifier key, signed by the old key.
 * @throws NoteError when the new key is not a verifier key of the same origin
 */
export function signRotation(oldKey: SigningKey, newVkey: string): string {
  const { name } = parseVkey(newVkey)
  if (name !== oldKey.name) throw new NoteError(`the new key is for ${name}, and the log is ${oldKey.name}`)
  return signNote(`${header}\n${oldKey.name}\n${newVkey}\n`, [oldKey])
}

/**
 * The new key that a statement names, and whether the old one is among `trusted`, so that it may be trusted from here on. A
 * statement by keys that are not known proves nothing and is no fault: whoever trusts a later key need not know the earlier.
 * Attacker-controlled input.
 * @throws NoteError when it is not a statement about the log of that origin, or a trusted key's signature does not verify
 */
export function openRotation(
  statement: string,
  origin: string,
  trusted: readonly VerifierKey[],
): { readonly newKey: VerifierKey; readonly proved: boolean } {
  if (statement.length > maxStatementLength) throw new NoteError('the statement is too long')
  const { text, signatures } = splitNote(statement)
  const [kind, about, newVkey, end, ...more] = text.split('\n')
  if (kind !== header || newVkey === undefined || end !== '' || more.length > 0) {
    throw new NoteError(`it is not a statement of three lines that begins with ${header}`)
  }
  const newKey = parseVkey(newVkey)
  if (about !== origin || newKey.name !== origin) throw new NoteError('the statement is about another log')
  const known = trusted.some(({ name, id }) =>
    signatures.some((signature) => signature.name === name && signature.id === id),
  )
  if (known) openNote(statement, trusted)
  return { newKey, proved: known }
}
