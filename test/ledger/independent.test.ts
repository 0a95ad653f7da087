import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { intentEntry, issuedEntry, loadedEntry, numberedEntry } from '../support/entries.ts'
import { openTestLedger, segmentFile, testKey, withFolder } from '../support/ledger.ts'

const has = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0
const tools =
  has('python3', '--version') && spawnSync('openssl', ['version']).stdout?.toString().startsWith('OpenSSL 3')

/** The program that docs/ledger.md gives to auditors who do not want to run ours. */
async function documentedProgram(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../docs/ledger.md'), 'utf8')
  return /^```python\n([\s\S]*?)^```$/m.exec(text)?.[1] ?? ''
}

describe.skipIf(!tools)('the program in docs/ledger.md (needs python3 and OpenSSL 3)', () => {
  it('verifies our ledger over several segments, and none that was altered or signed by another key', () =>
    withFolder(async (dir) => {
      const program = await documentedProgram()
      const run = (vkey: string) => spawnSync('python3', ['-c', program, dir, vkey], { encoding: 'utf8' })
      const ledger = await openTestLedger(dir, { segmentBytes: 1500 })
      for (const body of [loadedEntry, intentEntry(1), issuedEntry(1)]) await ledger.append(body)
      for (let n = 0; n < 18; n++) await ledger.append(numberedEntry(n))
      await ledger.close()
      expect(run(testKey.vkey)).toMatchObject({ status: 0, stdout: 'verified 21 entries\n' })

      const { vkey } = testKey
      expect(run(vkey.replace(/.$/, vkey.endsWith('A') ? 'B' : 'A')).status).toBe(1)
      for (const file of [segmentFile(dir), join(dir, 'checkpoint')]) {
        const bytes = await readFile(file)
        const changed = Buffer.from(bytes)
        changed[30] = (changed[30] ?? 0) ^ 1
        await writeFile(file, changed)
        expect(run(vkey).status).toBe(1)
        await writeFile(file, bytes)
      }
      expect(run(vkey).status).toBe(0)
    }))
})
