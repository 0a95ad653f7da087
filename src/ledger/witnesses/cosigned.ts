import type { Clock } from '../../base/clock.ts'
import { BrokerFault, messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { parseCheckpoint } from '../log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkeys, type WitnessKey } from '../log/cosignature.ts'
import { formatSignature, type NoteSignature, openNote, type VerifierKey } from '../log/note.ts'
import type { Proof } from '../log/proof.ts'
import { createWitnessClient, type WitnessAnswer, type WitnessClient, WitnessFailure } from './witness-client.ts'

/** A checkpoint of ours to be cosigned. */
export interface SignedHead {
  /** Signed by the log; cosignatures that it carries already are kept. */
  readonly note: string
  /** Entries it covers. */
  readonly size: number
  /** Durable entries of the log, those that no checkpoint covers yet included: a witness that has seen more saw what is lost. */
  readonly entries: number
}

/** A checkpoint with what witnesses added to it. */
export interface CosignedHead {
  /** The same note with the cosignatures that were got: each one verified, and by a witness of ours. */
  readonly note: string
  /** Witnesses whose cosignature it carries. */
  readonly cosigned: number
  /** Whether those are as many as the quorum asks for. */
  readonly enough: boolean
}

/** Gets checkpoints cosigned, all witnesses asked at once, within one time-out. */
export interface Cosigner {
  /**
   * Asks the witnesses that have not cosigned this note yet, but for those that failed moments ago. Called again with the note it
   * gave, it goes on from there. Never throws for what a witness does. One call at a time.
   */
  cosign(head: SignedHead & { readonly prove: (from: number) => Promise<Proof> }): Promise<CosignedHead>
  /**
   * Learns how many entries of the log each witness has seen; `undefined` of one that does not say. To be called before anything is
   * appended: a folder restored from a copy holds less than was witnessed, and going on would be a second history.
   * @throws BrokerFault `ledger_unavailable` when a witness has seen more than `entries`
   */
  askWitnesses(head: SignedHead): Promise<readonly { readonly name: string; readonly size: number | undefined }[]>
  close(): Promise<void>
}

export interface CosignerOptions {
  /** Prefix of each witness and its verifier key; the name is what log lines call it. */
  readonly witnesses: readonly { readonly name: string; readonly url: string; readonly vkey: string }[]
  /** Cosignatures that a checkpoint needs; with 0 it gets as many as there are. */
  readonly quorum: number
  readonly timeoutMs: number
  /** First line of the log's checkpoints. */
  readonly origin: string
  /** The keys that sign or signed them: what these signed is evidence. */
  readonly keys: readonly VerifierKey[]
  readonly clock: Clock
  readonly log: Log
  /**
   * A witness showed a checkpoint over more entries than there are, signed by a key of this log: nothing may be appended or
   * signed any more.
   */
  readonly onRolledBack: (size: number) => void
}

const firstRestMs = 500
const longestRestMs = 15_000

interface Witness {
  readonly name: string
  readonly key: WitnessKey
  readonly client: WitnessClient
  /** Entries it has seen, as far as we know. */
  seen: number
  /** Why its last answer was of no use. */
  trouble: string | undefined
  failures: number
  restsUntilMs: number
}

/** @throws BrokerFault `internal` when a verifier key is not that of a witness, or two are the same */
export function createCosigner(options: CosignerOptions): Cosigner {
  const { quorum, timeoutMs, origin, clock, log } = options
  const keys = keysOf(options)
  const witnesses = options.witnesses.flatMap(({ name, url }, at): Witness[] => {
    const key = keys[at]
    if (key === undefined) return []
    const client = createWitnessClient({ url, key })
    return [{ name, key, client, seen: 0, trouble: undefined, failures: 0, restsUntilMs: 0 }]
  })

  /** Runs a conversation within the time-out; what comes of it is remembered, and no failure is thrown. */
  async function talk<T>(witness: Witness, use: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const abort = new AbortController()
    const late = Promise.withResolvers<never>()
    const timer = clock.after(timeoutMs, () => {
      late.reject(new WitnessFailure(`no answer within ${timeoutMs} ms`))
      abort.abort()
    })
    try {
      const result = await Promise.race([use(abort.signal), late.promise])
      if (witness.trouble !== undefined) log.info({ witness: witness.name }, 'witness.answers_again')
      Object.assign(witness, { trouble: undefined, failures: 0, restsUntilMs: 0 })
      return result
    } catch (error) {
      const trouble = messageOf(error)
      const restMs = Math.min(longestRestMs, firstRestMs * 2 ** witness.failures++)
      witness.restsUntilMs = clock.now() + restMs
      const fields = { witness: witness.name, trouble, rest_ms: restMs }
      // That a witness refuses is said each time; that it is merely away, once.
      if (error instanceof WitnessRefusal) log.error(fields, 'witness.refused')
      else if (trouble !== witness.trouble) log.warn(fields, 'witness.failed')
      witness.trouble = trouble
      return undefined
    } finally {
      timer.cancel()
    }
  }

  async function cosignatureOf(
    witness: Witness,
    head: Parameters<Cosigner['cosign']>[0],
    signal: AbortSignal,
  ): Promise<NoteSignature> {
    for (let attempt = 1; ; attempt++) {
      // A greater size is a claim that we cannot prove anything from: asked from nothing, the witness will say it again.
      const from = witness.seen <= head.size ? witness.seen : 0
      const request = { from, proof: await head.prove(from), note: head.note }
      const answer = accepted(await witness.client.addCheckpoint(request, signal))
      if (answer.kind === 'cosigned') {
        witness.seen = head.size
        return answer.signature
      }
      witness.seen = answer.size
      if (answer.size > head.entries) await raiseAlarm(witness, answer.size, head.entries, signal)
      if (answer.size > head.size) throw new WitnessFailure('has seen a newer checkpoint')
      if (attempt === 2) throw new WitnessFailure('named another size each time')
    }
  }

  async function raiseAlarm(witness: Witness, size: number, entries: number, signal: AbortSignal): Promise<never> {
    const proven = await provenSize(witness, signal)
    if (proven > entries) options.onRolledBack(proven)
    throw new WitnessRefusal(rollback(witness, { size, proven, entries }))
  }

  /** Entries of the largest tree the witness can show our own signature under; 0 when it shows none. */
  async function provenSize({ client }: Witness, signal: AbortSignal): Promise<number> {
    try {
      const { note } = await client.latest(origin, signal)
      if (note === undefined) return 0
      const checkpoint = parseCheckpoint(openNote(note, options.keys).text)
      return checkpoint.origin === origin ? checkpoint.size : 0
    } catch {
      return 0
    }
  }

  return {
    async cosign(head) {
      const before = cosignaturesOf(head.note, keys)
      const now = clock.now()
      const asked = witnesses.filter(
        ({ key, restsUntilMs }) => restsUntilMs <= now && !before.some(({ name }) => name === key.name),
      )
      const added = await Promise.all(
        asked.map((witness) => talk(witness, (signal) => cosignatureOf(witness, head, signal))),
      )
      const lines = added.filter((signature) => signature !== undefined).map(formatSignature)
      const note = `${head.note}${lines.join('')}`
      const cosigned = cosignaturesOf(note, keys).length
      return { note, cosigned, enough: cosigned >= quorum }
    },

    async askWitnesses({ note, size: signed, entries }) {
      const ahead: string[] = []
      const answers = await Promise.all(
        witnesses.map(async (witness) => {
          const size = await talk(witness, async (signal) => {
            // From nothing: a witness that has seen the log refuses, and says how much of it.
            const answer = accepted(await witness.client.addCheckpoint({ from: 0, proof: [], note }, signal))
            if (answer.kind === 'cosigned') return signed
            if (answer.size > entries) {
              const proven = await provenSize(witness, signal)
              ahead.push(rollback(witness, { size: answer.size, proven, entries }))
            }
            return answer.size
          })
          if (size !== undefined) witness.seen = size
          return { name: witness.name, size }
        }),
      )
      if (ahead.length > 0) throw new BrokerFault('ledger_unavailable', ahead.join('; '))
      return answers
    },

    async close() {
      await Promise.all(witnesses.map(({ client }) => client.close()))
    },
  }
}

function keysOf({ witnesses }: CosignerOptions): readonly WitnessKey[] {
  try {
    return parseWitnessVkeys(witnesses.map(({ vkey }) => vkey))
  } catch (cause) {
    throw new BrokerFault('internal', `the witnesses of the ledger: ${messageOf(cause)}`, { cause })
  }
}

/** The witness answered, and does not stand by our checkpoint. */
class WitnessRefusal extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'WitnessRefusal'
  }
}

function accepted(answer: WitnessAnswer): Extract<WitnessAnswer, { kind: 'cosigned' | 'stale' }> {
  if (answer.kind === 'inconsistent') throw new WitnessRefusal('holds another history of this log')
  if (answer.kind === 'not_accepted') throw new WitnessRefusal('does not accept the log or the key it is signed with')
  return answer
}

function rollback(
  { name }: Witness,
  { size, proven, entries }: { readonly size: number; readonly proven: number; readonly entries: number },
): string {
  const evidence =
    proven > entries
      ? `and shows a checkpoint over ${proven} signed by this log: the folder was rolled back, or the key signs elsewhere`
      : 'and shows nothing signed by this log to prove it: unless the folder was rolled back, do not believe that witness'
  return `the witness ${name} says that it has seen ${size} entries where the ledger has ${entries}, ${evidence}`
}
