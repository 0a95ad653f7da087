import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { signingKeyOf } from '../../src/ledger/log/note.ts'
import { createReceipt } from '../../src/ledger/log/receipt.ts'
import { origin, testKey, withFolder } from '../support/ledger.ts'
import { decimalLog } from '../support/tile-log.ts'

const versionOf = (command: string, arg: string): string => spawnSync(command, [arg]).stdout?.toString() ?? ''
const tools =
  versionOf('python3', '--version').startsWith('Python 3') && versionOf('openssl', 'version').startsWith('OpenSSL 3')

describe.skipIf(!tools)('the program in docs/interop.md (needs python3 and OpenSSL 3)', () => {
  it('accepts our receipts, and none that was altered, is for another entry or is signed by another key', () =>
    withFolder(async (dir) => {
      const text = await readFile(join(import.meta.dirname, '../../docs/interop.md'), 'utf8')
      const program = /^```python\n([\s\S]*?)^```$/m.exec(text)?.[1] ?? ''
      const run = async (receipt: string, entry: string, vkey = testKey.vkey) => {
        await writeFile(join(dir, 'r'), receipt)
        await writeFile(join(dir, 'e'), entry)
        return spawnSync('python3', ['-c', program, join(dir, 'r'), join(dir, 'e'), vkey], { encoding: 'utf8' })
      }
      for (const [size, index] of [
        [1, 0],
        [257, 0],
        [257, 256],
        [700, 300],
      ] as const) {
        const receipt = await createReceipt(decimalLog(size), index)
        const passed = await run(receipt, String(index))
        expect(passed).toMatchObject({ status: 0, stdout: `entry ${index} is in ${origin}\n` })
      }
      const receipt = await createReceipt(decimalLog(700), 300)
      const withExtra = receipt.replace('\n', '\nextra AA==\n')
      expect((await run(withExtra, '300')).status).toBe(0)
      const otherKey = signingKeyOf(origin, Buffer.alloc(32, 9)).vkey
      for (const [spoilt, entry, vkey] of [
        [receipt, '301', undefined],
        [receipt, '300\n', undefined],
        [receipt.replace('index 300', 'index 301'), '300', undefined],
        [receipt.replace('\n700\n', '\n701\n'), '300', undefined],
        [receipt.replace(/\n[\w+/]{43}=\n/, '\n'), '300', undefined],
        [receipt.replace(/(\n[\w+/]{43}=\n)/, '$1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n'), '300', undefined],
        [receipt, '300', otherKey],
      ] as const) {
        expect((await run(spoilt, entry, vkey)).status).toBe(1)
      }
    }))
})
