import type { Ledger } from '../ledger.ts'
import { type SigningKey, splitNote } from '../log/note.ts'
import { signRotation } from '../log/rotation.ts'

/** Who signs checkpoints while a log passes from one key to the next. */
export interface Handover {
  /** The old key alone until the entry that hands the log over is durable, then both. */
  signers(): readonly [SigningKey, ...SigningKey[]]
  /** Puts the handover on record when it is not there yet. */
  record(ledger: Pick<Ledger, 'append'>): Promise<void>
}

/** `note` is the newest checkpoint: a new key that has signed it was handed the log before. */
export function createHandover(note: string, key: SigningKey, previousKey: SigningKey | undefined): Handover {
  if (previousKey === undefined) return { signers: () => [key], record: async () => {} }
  let done = splitNote(note).signatures.some(({ id }) => id === key.id)
  return {
    signers: () => (done ? [key, previousKey] : [previousKey]),
    async record(ledger) {
      if (done) return
      await ledger.append({
        kind: 'config.key_rotated',
        actor: { type: 'broker', reason: 'key rotation' },
        new_key: key.vkey,
        statement: signRotation(previousKey, key.vkey),
      })
      done = true
    },
  }
}
