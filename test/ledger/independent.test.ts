import { spawnSync } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { signingKeyOf } from '../../src/ledger/log/note.ts'
import { intentEntry, issuedEntry, loadedEntry, numberedEntry } from '../support/entries.ts'
import { openTestLedger, origin, testKey, withFolder } from '../support/ledger.ts'
import { edit, filesIn, flipped } from '../support/log-folder.ts'

const has = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0
const tools =
  has('python3', '--version') && spawnSync('openssl', ['version']).stdout?.toString().startsWith('OpenSSL 3')

/** The program that docs/ledger.md gives to auditors who do not want to run ours. */
async function documentedProgram(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../docs/ledger.md'), 'utf8')
  return /^```python\n([\s\S]*?)^```$/m.exec(text)?.[1] ?? ''
}

describe.skipIf(!tools)('the program in docs/ledger.md (needs python3 and OpenSSL 3)', () => {
  it('verifies what our ledger publishes, and none of it that was altered, is missing or was signed by another key', () =>
    withFolder(async (dir) => {
      const program = await documentedProgram()
      const run = (vkey: string) => spawnSync('python3', ['-c', program, dir, vkey], { encoding: 'utf8' })
      const ledger = await openTestLedger(dir)
      for (const body of [loadedEntry, intentEntry(1), issuedEntry(1)]) await ledger.append(body)
      await Promise.all(Array.from({ length: 597 }, (_, n) => ledger.append(numberedEntry(n))))
      await ledger.close()
      // Tiles and checkpoint are all it takes.
      for (const other of ['segments', 'lock']) await rm(join(dir, other), { recursive: true })
      expect(run(testKey.vkey)).toMatchObject({ status: 0, stdout: 'verified 600 entries\n' })

      const { vkey } = testKey
      expect(run(vkey.replace(/.$/, vkey.endsWith('A') ? 'B' : 'A')).status).toBe(1)
      for (const path of await filesIn(dir)) {
        const bytes = await readFile(join(dir, path))
        await edit(join(dir, path), (sound) => flipped(sound, 30))
        expect(run(vkey).status, path).toBe(1)
        await rm(join(dir, path))
        expect(run(vkey).status, path).toBe(1)
        await writeFile(join(dir, path), bytes)
      }
      expect(run(vkey).status).toBe(0)
    }))

  it('verifies an empty ledger', () =>
    withFolder(async (dir) => {
      await (await openTestLedger(dir)).close()
      const { status, stdout } = spawnSync('python3', ['-c', await documentedProgram(), dir, testKey.vkey], {
        encoding: 'utf8',
      })
      expect({ status, stdout }).toEqual({ status: 0, stdout: 'verified 0 entries\n' })
    }))

  it('verifies a ledger that two keys have signed, with either', () =>
    withFolder(async (dir) => {
      const program = await documentedProgram()
      const newKey = signingKeyOf(origin, Buffer.alloc(32, 21))
      for (const keys of [{}, { key: newKey, previousKey: testKey }]) {
        const ledger = await openTestLedger(dir, keys)
        await ledger.append(numberedEntry(1))
        await ledger.close()
      }
      for (const { vkey } of [testKey, newKey]) {
        expect(spawnSync('python3', ['-c', program, dir, vkey]).status).toBe(0)
      }
    }))
})
