import { parseManifest } from '../export/redaction.ts'
import { NoteError } from '../log/note.ts'
import type { TileSource } from '../source/tile-source.ts'
import type { Findings } from './problem.ts'
import type { Head, Trust } from './trust.ts'

/** What a tree head is: the newest of the log, or one that its verifier has kept. */
export type HeadRule = 'checkpoint' | 'since'

const names: Readonly<Record<HeadRule, string>> = {
  checkpoint: 'the signed checkpoint',
  since: 'the saved checkpoint',
}

/**
 * The tree head that everything in a log is verified against, of a redacted copy the one in its manifest; a problem where there is none to go by.
 * @throws SourceError
 */
export async function treeHead(log: TileSource, trust: Trust, findings: Findings): Promise<Head | undefined> {
  const checkpoint = await log.checkpoint()
  const manifest = checkpoint === undefined ? await log.manifest?.() : undefined
  if (manifest === undefined) return readHead('checkpoint', checkpoint, trust, findings)
  return distrusting('checkpoint', findings, () => trust.read(manifest, parseManifest))
}

/** The tree head in a note. Its signature is verified if the key is known yet, and by `confirmHead` in any case. */
export function readHead(
  rule: HeadRule,
  note: string | Uint8Array | undefined,
  trust: Trust,
  findings: Findings,
): Head | undefined {
  return distrusting(rule, findings, () => trust.read(note))
}

/** Requires the signature of a key that is trusted by now. */
export function confirmHead(rule: HeadRule, head: Head | undefined, trust: Trust, findings: Findings): void {
  if (head !== undefined) distrusting(rule, findings, () => trust.confirm(head))
}

function distrusting<T>(rule: HeadRule, findings: Findings, read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof NoteError)) throw error
    findings.add({ rule, message: `${names[rule]} cannot be trusted: ${error.message}` })
    return undefined
  }
}
