import { Pool } from 'undici'
import { messageOf } from '../../base/errors.ts'
import { parseSize } from '../log/checkpoint.ts'
import type { WitnessKey } from '../log/cosignature.ts'
import { type NoteSignature, readSignatures, splitNote, verifySignatures } from '../log/note.ts'
import { type AddCheckpoint, formatAddCheckpoint, monitorPath, sizeType } from '../log/witness-protocol.ts'

/** What a witness answers to a checkpoint. */
export type WitnessAnswer =
  /** It verified: the line is by its own key and for this checkpoint. */
  | { readonly kind: 'cosigned'; readonly signature: NoteSignature }
  /** It has cosigned a checkpoint over that many entries. Its word alone. */
  | { readonly kind: 'stale'; readonly size: number }
  /** It holds another history than the one it was shown. */
  | { readonly kind: 'inconsistent' }
  /** It does not know the log, or not the key that signed the checkpoint. */
  | { readonly kind: 'not_accepted' }

/** No usable answer. The message holds statuses and error codes, nothing that the witness sent. */
export class WitnessFailure extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'WitnessFailure'
  }
}

/** What a witness shows monitors. */
export interface Shown {
  /** `undefined` when it shows none of that log. */
  readonly note: string | undefined
  /** When it answered, by its own clock (ms since the epoch, whole seconds); `undefined` when it does not say. */
  readonly timeMs: number | undefined
}

/** One witness over HTTP. Whatever it sends is attacker-controlled: bounded, and believed only as far as its key signed it. */
export interface WitnessClient {
  /** @throws WitnessFailure */
  addCheckpoint(request: AddCheckpoint, signal: AbortSignal): Promise<WitnessAnswer>
  /** The newest checkpoint it shows of a log, not verified. @throws WitnessFailure */
  latest(origin: string, signal: AbortSignal): Promise<Shown>
  /** Ends its connections at once; calls under way fail. */
  close(): Promise<void>
}

/** Enough for a checkpoint with more signatures of the largest kind than anybody has. */
const maxAnswerBytes = 128 * 1024

/** A client of the witness whose submission and monitoring prefix is `url`. No redirect is followed, and no encoding accepted. */
export function createWitnessClient({ url, key }: { readonly url: string; readonly key: WitnessKey }): WitnessClient {
  const { origin, pathname } = new URL(url)
  const prefix = pathname.replace(/\/*$/, '/')
  // The signal of a call covers all of it, so the timers of undici have nothing to add.
  const pool = new Pool(origin, {
    connections: 4,
    maxResponseSize: maxAnswerBytes,
    headersTimeout: 0,
    bodyTimeout: 0,
  })

  async function send(method: 'GET' | 'POST', path: string, body: string | null, signal: AbortSignal): Promise<Answer> {
    try {
      const headers = { 'accept-encoding': 'identity', ...(body !== null && { 'content-type': 'text/plain' }) }
      const answer = await pool.request({ method, path: `${prefix}${path}`, body, headers, signal })
      const { 'content-type': type, date } = answer.headers
      const text = await answer.body.text()
      const timeMs = Date.parse(String(date))
      return {
        status: answer.statusCode,
        type: typeof type === 'string' ? type : '',
        text,
        timeMs: Number.isNaN(timeMs) ? undefined : timeMs,
      }
    } catch (error) {
      throw new WitnessFailure(`no answer (${codeOf(error)})`)
    }
  }

  return {
    async addCheckpoint(request, signal) {
      return read(await send('POST', 'add-checkpoint', formatAddCheckpoint(request), signal), request.note, key)
    },
    async latest(log, signal) {
      const { status, text, timeMs } = await send('GET', monitorPath(log), null, signal)
      if (status !== 200 && status !== 404) throw new WitnessFailure(`answered ${status}`)
      return { note: status === 404 ? undefined : text, timeMs }
    },
    close: () => pool.destroy(),
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly text: string
  readonly timeMs: number | undefined
}

function read({ status, type, text }: Answer, note: string, key: WitnessKey): WitnessAnswer {
  const isSize = type.split(';', 1)[0]?.trim() === sizeType
  if (status === 200) return { kind: 'cosigned', signature: readCosignature(text, note, key) }
  if (status === 409 && isSize) return { kind: 'stale', size: readSize(text) }
  // Some witnesses answer 409 without a size when it is the root that differs.
  if (status === 409 || status === 422) return { kind: 'inconsistent' }
  // Older witnesses answer 403 where the log is not known to them.
  if (status === 403 || status === 404) return { kind: 'not_accepted' }
  throw new WitnessFailure(`answered ${status}`)
}

function readCosignature(lines: string, note: string, key: WitnessKey): NoteSignature {
  let found: NoteSignature | undefined
  try {
    found = verifySignatures({ text: splitNote(note).text, signatures: readSignatures(lines) }, [key])[0]
  } catch (error) {
    throw new WitnessFailure(`sent no cosignature: ${messageOf(error)}`)
  }
  if (found === undefined) throw new WitnessFailure('sent no cosignature by its key')
  return { name: found.name, id: found.id, bytes: found.bytes }
}

function readSize(text: string): number {
  try {
    return parseSize(text.replace(/\n$/, ''))
  } catch {
    throw new WitnessFailure('named no size')
  }
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : 'no code'
}
