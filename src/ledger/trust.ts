import { messageOf } from '../base/errors.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { NoteError, openNote, parseVkey, splitNote, type VerifierKey } from './note.ts'
import { openRotation } from './rotation.ts'

/** A tree head, and the note it stands in. */
export interface Head extends Checkpoint {
  readonly note: string | Uint8Array
}

/** A key that was learnt, and the statement that speaks for it. */
export interface LearntKey {
  readonly newKey: string
  readonly statement: string
}

/** The keys that speak for a log: those its verifier brought along, and those that these have passed it on to. */
export interface Trust {
  readonly origin: string
  /** The keys trusted by now. */
  readonly vkeys: readonly string[]
  /** What was learnt, in order. */
  readonly learnt: readonly LearntKey[]
  /**
   * Reads the tree head in a note. One that a trusted key claims to have signed is verified; one by keys that are not known yet
   * is a claim, for `confirm` to settle once every rotation has been read. Attacker-controlled input.
   * @throws NoteError
   */
  read(note: string | Uint8Array | undefined): Head
  /** @throws NoteError unless a key trusted by now has signed the tree head. */
  confirm(head: Head): void
  /** From here on trusts the new key too, if a trusted one says so; returns what is wrong with the statement, if anything. */
  learn(key: LearntKey): string | undefined
}

/** Rotations that are followed. */
const mostRotations = 1_000

/** @throws NoteError when one of the keys is none, or when they are of different logs */
export function createTrust(vkeys: readonly string[]): Trust {
  const keys: VerifierKey[] = vkeys.map(parseVkey)
  const origin = keys[0]?.name
  if (origin === undefined) throw new NoteError('no verifier key is given')
  if (keys.some(({ name }) => name !== origin)) throw new NoteError('the verifier keys are of different logs')
  const learnt: LearntKey[] = []

  return {
    origin,
    get vkeys() {
      return keys.map(({ vkey }) => vkey)
    },
    learnt,
    read(note) {
      if (note === undefined) throw new NoteError('there is none')
      const { text, signatures } = splitNote(note)
      if (keys.some((key) => signatures.some(({ name, id }) => name === key.name && id === key.id))) openNote(note, keys)
      const checkpoint = parseCheckpoint(text)
      if (checkpoint.origin !== origin) throw new NoteError('it is of another log than the key')
      return { ...checkpoint, note }
    },
    confirm({ note }) {
      openNote(note, keys)
    },
    learn({ newKey, statement }) {
      try {
        const rotation = openRotation(statement, origin, keys)
        if (rotation.newKey.vkey !== newKey) return 'it names another key than its statement'
        if (!rotation.proved || keys.some(({ vkey }) => vkey === newKey)) return undefined
        if (learnt.length >= mostRotations) return `more than ${mostRotations} rotations are not followed`
        keys.push(rotation.newKey)
        learnt.push({ newKey, statement })
        return undefined
      } catch (error) {
        if (error instanceof NoteError) return messageOf(error)
        throw error
      }
    },
  }
}
