import { cp, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { withFolder } from '../../support/ledger.ts'
import { filesIn, flipped, verifyDir, withCopy } from '../../support/log-folder.ts'

const folder = join(import.meta.dirname, '../../vectors/logs')
const sources = z
  .record(z.string(), z.object({ source: z.string(), vkey: z.string(), size: z.int() }))
  .parse(JSON.parse(await readFile(join(folder, 'sources.json'), 'utf8')))
const any = { form: 'any' } as const

describe.each(Object.entries(sources))('a log that %s wrote', (name, { vkey, size }) => {
  const log = join(folder, name)

  it('is verified as it is, and its entries are left alone', async () => {
    const { signed, ...report } = await verifyDir(log, { vkey, ...any })
    expect(report).toMatchObject({ ok: true, form: 'any', entries: size, skipped: 0, unsigned: 0, problemCount: 0 })
    expect(signed?.size).toBe(size)
  })

  it('is not taken for one of ours, and what to say then is said', async () => {
    const { ok, problems } = await verifyDir(log, { vkey })
    expect(ok).toBe(false)
    expect(problems).toMatchObject([{ rule: 'stopped', message: expect.stringContaining('--entries any') }])
  })

  it('is not verified with any of its files changed, cut short or gone, and a wrong tile is named', () =>
    withCopy(log, async (copy) => {
      for (const path of await filesIn(copy)) {
        const bytes = await readFile(join(copy, path))
        // Of a checkpoint the end is the signature of another key, which proves nothing and is not looked at.
        const places = path === 'checkpoint' ? [3] : [3, bytes.length >> 1, bytes.length - 1]
        for (const wrong of [...places.map((at) => flipped(bytes, at)), bytes.subarray(0, -1)]) {
          await writeFile(join(copy, path), wrong)
          const { ok, problems } = await verifyDir(copy, { vkey, ...any })
          expect(ok, path).toBe(false)
          if (path !== 'checkpoint') {
            expect(problems.map((problem) => problem.path?.replace('/entries/', '/0/'))).toContain(
              path.replace('/entries/', '/0/'),
            )
          }
        }
        await unlink(join(copy, path))
        expect((await verifyDir(copy, { vkey, ...any })).ok, path).toBe(false)
        await writeFile(join(copy, path), bytes)
      }
      expect((await verifyDir(copy, { vkey, ...any })).ok).toBe(true)
    }))

  it('is not verified with the key of another', () =>
    withFolder(async (dir) => {
      await cp(log, dir, { recursive: true })
      const others = Object.values(sources).filter((other) => other.vkey !== vkey)
      for (const other of others) expect((await verifyDir(dir, { vkey: other.vkey, ...any })).ok).toBe(false)
    }))
})
