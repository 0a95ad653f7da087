import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { formatSignature, parseVkey } from '../../src/ledger/log/note.ts'
import { monitorPath } from '../../src/ledger/log/witness-protocol.ts'
import type { Head } from '../../src/witness/head-store.ts'
import { faultyDisk, type Operation } from '../support/faulty-disk.ts'
import { origin, testKey, withFolder } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { logsOf, openTestStore, witnessKey } from '../support/witness.ts'

const logs = logsOf(testKey.vkey)
const log = memoryLog()
log.append('a', 'b', 'c', 'd', 'e')

function headAt(size: number): Head {
  const signed = log.sign(testKey, size)
  const text = signed.slice(0, signed.indexOf('\n\n') + 1)
  const note = `${signed}${formatSignature(witnessKey.cosign(text, 1_000_000))}`
  return { size, root: log.root(size), note }
}

describe('what a witness remembers', () => {
  it('is there again after a restart, as a file that monitors can be given', () =>
    withFolder(async (dir) => {
      const store = await openTestStore(dir, logs)
      expect(store.latest(origin)).toBeUndefined()
      expect(await store.advance(origin, 0, headAt(2))).toBe(true)
      expect(await store.advance(origin, 2, headAt(5))).toBe(true)
      await store.close()
      const note = await readFile(join(dir, monitorPath(origin)), 'utf8')
      expect(openCheckpoint(note, parseVkey(testKey.vkey)).size).toBe(5)
      expect(cosignaturesOf(note, [parseWitnessVkey(witnessKey.vkey)])).toHaveLength(1)
      const again = await openTestStore(dir, logs)
      expect(again.latest(origin)).toMatchObject({ size: 5, note })
      expect(Buffer.from(again.latest(origin)?.root ?? [])).toEqual(Buffer.from(log.root(5)))
      await again.close()
    }))

  it('goes on only from where it is', () =>
    withFolder(async (dir) => {
      const store = await openTestStore(dir, logs)
      const taken = await Promise.all([
        store.advance(origin, 0, headAt(2)),
        store.advance(origin, 0, headAt(3)),
        store.advance(origin, 2, headAt(4)),
        store.advance(origin, 2, headAt(5)),
      ])
      expect(taken).toEqual([true, false, true, false])
      expect(store.latest(origin)?.size).toBe(4)
      await store.close()
    }))

  it('is one process’s alone', () =>
    withFolder(async (dir) => {
      const store = await openTestStore(dir, logs)
      await expect(openTestStore(dir, logs)).rejects.toThrow(
        'another process is writing the checkpoints of the witness',
      )
      await store.close()
      await (await openTestStore(dir, logs)).close()
    }))

  it.each(['damaged', 'of another witness', 'of another log'])('is refused when it is %s', (what) =>
    withFolder(async (dir) => {
      const store = await openTestStore(dir, logs)
      await store.advance(origin, 0, headAt(2))
      await store.close()
      const file = join(dir, monitorPath(origin))
      const note = headAt(2).note
      if (what === 'damaged') await writeFile(file, note.replace('\n2\n', '\n1\n'))
      if (what === 'of another witness') await writeFile(file, log.sign(testKey, 2))
      if (what === 'of another log') {
        const text = `other\n2\n${Buffer.from(log.root(2)).toString('base64')}\n`
        await writeFile(file, `${text}\n${formatSignature(witnessKey.cosign(text, 1_000_000))}`)
      }
      await expect(openTestStore(dir, logs)).rejects.toMatchObject({ code: 'ledger_unavailable' })
      await expect(openTestStore(dir, logs)).rejects.toThrow(`is not a checkpoint of ${origin}`)
    }),
  )

  it('is whole whichever operation of the disk fails, and nothing is taken after that', () =>
    withFolder(async (dir) => {
      const operations: Operation[] = []
      const counting = await openTestStore(
        join(dir, 'count'),
        logs,
        faultyDisk((operation) => {
          operations.push(operation)
          return 'do'
        }),
      )
      operations.length = 0
      await counting.advance(origin, 0, headAt(2))
      await counting.close()
      expect(operations.map(({ verb }) => verb)).toEqual(['open', 'write', 'sync', 'rename', 'open', 'sync'])
      for (const failing of operations.keys()) {
        const folder = join(dir, String(failing))
        let left = Number.POSITIVE_INFINITY
        const store = await openTestStore(
          folder,
          logs,
          faultyDisk(() => (left-- === 0 ? 'fail' : 'do')),
        )
        await store.advance(origin, 0, headAt(2))
        left = failing
        await expect(store.advance(origin, 2, headAt(3))).rejects.toMatchObject({ code: 'ledger_unavailable' })
        await expect(store.advance(origin, 2, headAt(3))).rejects.toMatchObject({ code: 'ledger_unavailable' })
        expect(await store.failed).toMatchObject({ code: 'ledger_unavailable' })
        expect(store.latest(origin)?.size).toBe(2)
        await store.close()
        const again = await openTestStore(folder, logs)
        expect([2, 3]).toContain(again.latest(origin)?.size)
        await again.close()
      }
    }))

  it('stands in a folder that nobody else can enter', () =>
    withFolder(async (dir) => {
      const store = await openTestStore(join(dir, 'witness'), logs)
      expect((await stat(join(dir, 'witness'))).mode & 0o777).toBe(0o700)
      await store.close()
    }))
})
