import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import type { Config } from '../../config/config.ts'
import { type Checkpoint, parseCheckpoint } from '../../ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkey, type WitnessKey } from '../../ledger/log/cosignature.ts'
import { NoteError, splitNote } from '../../ledger/log/note.ts'
import { nodeDisk } from '../../ledger/store/disk.ts'
import { walk } from '../../ledger/verify/walk.ts'
import { createWitnessClient, type WitnessClient, WitnessFailure } from '../../ledger/witnesses/witness-client.ts'
import { bad, doubtful, type Finding, good } from './finding.ts'

const deadlineMs = 5_000
/** Beyond it, the time in a cosignature misleads whoever verifies. */
const greatestSkewMs = 30_000

/**
 * Asks each witness what it is to this ledger: whether it is there, with the key that is configured, accepts the ledger and its key, and
 * has seen no more of it than there is. Nothing is cosigned for that.
 */
export async function checkWitnesses({ ledger }: Config, clock: Clock): Promise<Finding[]> {
  const { witnesses, quorum, origin, dir } = ledger
  const examined = await Promise.all(witnesses.map((witness) => examine(witness, { origin, dir, clock })))
  const able = examined.filter((findings) => findings.every(({ verdict }) => verdict !== 'fail')).length
  if (quorum <= able) return examined.flat()
  const detail = `${able} of ${witnesses.length} can cosign, and ledger.quorum is ${quorum}: no checkpoint is published`
  const fix = 'put right the witnesses above, or lower ledger.quorum until they are back'
  return [...examined.flat(), bad('witness quorum', detail, fix)]
}

interface Ledger {
  readonly origin: string
  readonly dir: string
  readonly clock: Clock
}

async function examine({ name, url, vkey }: Config['ledger']['witnesses'][number], of: Ledger): Promise<Finding[]> {
  const check = `witness ${name}`
  let key: WitnessKey
  try {
    key = parseWitnessVkey(vkey)
  } catch (error) {
    return [bad(check, `its vkey is none: ${messageOf(error)}`, 'copy what writ witness keygen printed on its side')]
  }
  const client = createWitnessClient({ url, key })
  try {
    const { note, timeMs } = await client.latest(of.origin, AbortSignal.timeout(deadlineMs))
    // Only now: a broker that runs has gone on meanwhile, and what the witness has seen must be in it.
    const own = await headIn(of.dir)
    const clockFindings = timeMs === undefined ? [] : skewFindings(check, timeMs - of.clock.now())
    if (own !== undefined && !(await accepts(client, own))) {
      const fix = `have its operator add the verifier key of this ledger to logs in witness.yaml, and restart it`
      return [bad(check, `${url} does not accept ${of.origin} or the key it is signed with`, fix), ...clockFindings]
    }
    return [await judge(check, { url, note, key, own }, of), ...clockFindings]
  } catch (error) {
    if (!(error instanceof WitnessFailure)) throw error
    return [bad(check, `${url}: ${error.message}`, 'check its url and the network, and that writ witness runs there')]
  } finally {
    await client.close()
  }
}

/** Says whether it would take the checkpoint, by a request that cannot be fulfilled: one that goes on from more than there is. */
async function accepts(client: WitnessClient, { note, size }: Own): Promise<boolean> {
  try {
    const request = { from: size + 1, proof: [], note }
    const { kind } = await client.addCheckpoint(request, AbortSignal.timeout(deadlineMs))
    return kind !== 'not_accepted'
  } catch (error) {
    if (!(error instanceof WitnessFailure)) throw error
    // That it is asked for too much is what a witness says last (tlog-witness, "old").
    return error.message === 'answered 400' ? true : Promise.reject(error)
  }
}

interface Own extends Checkpoint {
  readonly note: string
}

/** The checkpoint in the folder of the ledger; whether it is sound is for `ledger verify` to say. */
async function headIn(dir: string): Promise<Own | undefined> {
  try {
    const note = await readFile(join(dir, 'checkpoint'), 'utf8')
    return { ...parseCheckpoint(splitNote(note).text), note }
  } catch {
    return undefined
  }
}

interface Seen {
  readonly url: string
  readonly note: string | undefined
  readonly key: WitnessKey
  readonly own: Own | undefined
}

async function judge(check: string, { url, note, key, own }: Seen, { origin, dir }: Ledger): Promise<Finding> {
  if (note === undefined) {
    return own === undefined
      ? good(check, `${url} answers; there is no checkpoint to show it yet`)
      : doubtful(check, `${url} has seen nothing of ${origin} yet`, 'start the broker: it hands over each checkpoint')
  }
  let shown: Checkpoint
  try {
    shown = parseCheckpoint(splitNote(note).text)
    if (cosignaturesOf(note, [key]).length === 0) throw new NoteError('it is not cosigned by that key')
  } catch {
    const fix = 'copy the vkey that writ witness keygen prints on its side into ledger.witnesses, or correct url'
    return bad(check, `what ${url} shows is not cosigned by ${key.name}+${key.id}, the key that is configured`, fix)
  }
  const entries = await entriesIn(dir, own)
  const history = 'do not start the broker; find the newest copy of the folder, and where else its key is'
  if (shown.size > entries) {
    const detail = `has seen ${shown.size} entries, and ${dir} holds ${entries}: it was rolled back, or its key signs elsewhere`
    return bad(check, detail, `${history} (docs/witness.md)`)
  }
  if (own !== undefined && own.size === shown.size && Buffer.compare(own.root, shown.root) !== 0) {
    return bad(check, `holds another history: its root over ${shown.size} entries is not that of ${dir}`, history)
  }
  return good(check, `${url} has cosigned ${shown.size} entries of ${entries}`)
}

/** Entries in the folder, those that are not signed for among them. */
async function entriesIn(dir: string, own: Own | undefined): Promise<number> {
  const { index } = await walk(nodeDisk, dir, () => {}).catch(() => ({ index: 0 }))
  return Math.max(own?.size ?? 0, index)
}

function skewFindings(check: string, skewMs: number): Finding[] {
  if (Math.abs(skewMs) <= greatestSkewMs) return []
  const detail = `its clock is ${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? 'ahead of' : 'behind'} the one here`
  return [doubtful(check, detail, 'run NTP on both machines: the times in cosignatures are what auditors go by')]
}
