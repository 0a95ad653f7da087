import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { verifyLedger } from '../../ledger/verify/check.ts'
import type { Scene } from './story.ts'

/** The broker is gone by now: what is verified is a folder, with one public key. */
export const proof = ({ dir, vkey }: { dir: string; vkey: string }): readonly Scene[] => [
  {
    step: 'ledger_verified',
    title: 'The record is verified offline, with nothing but the folder and a public key',
    async show() {
      const { ok, entries, signed, unsigned, problems } = await verifyLedger({ dir, vkey })
      const whole = ok && unsigned === 0 && signed?.size === entries
      const words = whole
        ? `${entries} entries, root ${signed.root.slice(0, 16)}…, signed by ${vkey.split('+')[0]}`
        : `${problems[0]?.message}`
      return { ok: whole, words, facts: { entries, root: signed?.root, vkey } }
    },
  },
  {
    step: 'tampering_caught',
    title: 'Somebody with every right on the disk makes checkout look like somebody else, in a copy',
    async show() {
      const copy = await mkdtemp(join(tmpdir(), 'writ-tampered-'))
      try {
        await cp(dir, copy, { recursive: true })
        const changed = await replaceEverywhere(copy, '"workload":"checkout"', '"workload":"chequers"')
        const { ok, problems } = await verifyLedger({ dir: copy, vkey })
        const [first] = problems
        const words = ok ? 'it was NOT noticed' : `${changed} files changed; caught: ${first?.message}`
        return { ok: !ok && changed > 0, words, facts: { caught: first?.message, rule: first?.rule } }
      } finally {
        await rm(copy, { recursive: true, force: true })
      }
    },
  },
]

/** Replaces a text by one of the same length in every file below a folder; how many files held it. */
async function replaceEverywhere(dir: string, text: string, by: string): Promise<number> {
  let changed = 0
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const before = await readFile(path, 'latin1')
    const after = before.replaceAll(text, by)
    if (after === before) continue
    await writeFile(path, after, 'latin1')
    changed++
  }
  return changed
}
