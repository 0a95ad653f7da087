import { isId } from '../base/ids.ts'
import { canonicalJson } from '../ledger/canonical.ts'
import { openNote, type VerifierKey } from '../ledger/log/note.ts'
import { ProofError } from '../ledger/log/proof.ts'
import { proveEntry, unverifiedHead } from '../ledger/log/receipt.ts'
import { type TileId, tilePath } from '../ledger/log/tile.ts'
import { entryAt, type FoundEntry, findEntries } from '../ledger/search/find-entries.ts'
import { exactTile, openSource, type SourceOptions } from '../ledger/source/open.ts'
import { SourceError, type TileSource } from '../ledger/source/tile-source.ts'
import { CommandError, exit } from './command.ts'
import type { BrokerClient } from './http-client.ts'
import { logPlace, unreadable } from './log-place.ts'
import { orNotProved } from './verifying.ts'

/** An entry with the receipt that came with it, or was made for it. Neither is verified. */
export interface Candidate extends FoundEntry {
  readonly receipt: string
}

/** Of more entries than this only the newest are given. */
export const mostCandidates = 1000

/** The entry at an index, or those that name an id, as a broker gives them. @throws ProblemError, CommandError */
export async function fromBroker(client: BrokerClient, wanted: string): Promise<readonly Candidate[]> {
  const index = indexIn(wanted)
  const entries = index === undefined ? await entriesNaming(client, wanted) : [await client.entry(index)]
  const candidates: Candidate[] = []
  for (const { index: at, entry } of entries) {
    // What was hashed is the canonical form, and the answer may have any.
    candidates.push({ index: at, bytes: Buffer.from(canonicalJson(entry)), receipt: await client.receipt(at) })
  }
  return candidates
}

async function entriesNaming(client: BrokerClient, id: string) {
  const field =
    (['grant', 'task', 'approval', 'revocation', 'request'] as const).find((name) => isId(prefixes[name], id)) ?? 'id'
  const found = []
  for (let after: number | null | undefined; after !== null; ) {
    const from = after === undefined ? {} : { after: String(after) }
    const page = await client.entries({ [field]: id, limit: '1000', ...from })
    found.push(...page.entries)
    if (found.length > mostCandidates) found.splice(0, found.length - mostCandidates)
    after = page.next
  }
  return found
}

const prefixes = { grant: 'gr', task: 'tsk', approval: 'ap', revocation: 'rev', request: 'rq' } as const

/**
 * The entry at an index, or those that name an id, of the log in a folder or below a URL, each with a receipt made from its tiles.
 * With keys, one of them must have signed the checkpoint.
 * @throws CommandError
 */
export async function fromLog(
  place: string,
  wanted: string,
  options: { readonly keys: readonly VerifierKey[] } & Omit<SourceOptions, 'signal'>,
): Promise<readonly Candidate[]> {
  const log = await openSource(await logPlace(place), options)
  try {
    return await orNotProved(() => candidatesIn(provingFrom(log), wanted, options.keys))
  } catch (error) {
    throw error instanceof SourceError ? unreadable(error, place) : error
  } finally {
    await log.close()
  }
}

/** What a proof is made from. */
interface ProvingLog {
  checkpoint(): Promise<string>
  tile(id: TileId): Promise<Buffer>
}

/** A log whose missing files are faults of the proof. */
export function provingFrom(log: TileSource): ProvingLog {
  return {
    async checkpoint() {
      const note = await log.checkpoint()
      if (note === undefined) throw new SourceError('there is no checkpoint')
      return note.toString()
    },
    async tile(id) {
      const bytes = await exactTile(log, id)
      if (bytes !== undefined) return bytes
      const hint = id.level === 'entries' ? '; if old entries were moved to another folder, name it with --archive' : ''
      throw new ProofError(`${tilePath(id)} is missing${hint}`)
    },
  }
}

async function candidatesIn(
  log: ProvingLog,
  wanted: string,
  keys: readonly VerifierKey[],
): Promise<readonly Candidate[]> {
  const checkpoint = await log.checkpoint()
  // Before anything is looked for: an unsigned size is nobody's word.
  if (keys.length > 0) openNote(checkpoint, keys)
  const { size } = unverifiedHead(checkpoint)
  const candidates: Candidate[] = []
  for await (const { index, bytes } of entriesIn(log, size, wanted)) {
    const receipt = await proveEntry({ checkpoint, index, tile: log.tile })
    candidates.push({ index, bytes: Buffer.from(bytes), receipt })
    if (candidates.length === mostCandidates) break
  }
  return candidates
}

async function* entriesIn(log: ProvingLog, size: number, wanted: string): AsyncGenerator<FoundEntry> {
  const index = indexIn(wanted)
  if (index === undefined) yield* findEntries(log.tile, size, wanted)
  else if (index < size) yield await entryAt(log.tile, size, index)
  else {
    const fix = 'wait for the next checkpoint, if it was written just now'
    throw new CommandError(exit.fault, `there is no entry ${index}: the newest checkpoint covers ${size}`, fix)
  }
}

const indexIn = (wanted: string): number | undefined =>
  /^(0|[1-9]\d{0,14})$/.test(wanted) ? Number(wanted) : undefined
