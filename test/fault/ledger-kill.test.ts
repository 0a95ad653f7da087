import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it } from 'vitest'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { ended, guard } from '../support/child.ts'
import { collect, openTestLedger, testKey, withFolder } from '../support/ledger.ts'

const script = join(import.meta.dirname, 'ledger-writer.ts')
const { vkey } = testKey

interface Child {
  readonly process: ChildProcess
  readonly lines: AsyncIterableIterator<string>
  /** SIGKILL, then everything that was printed before it took effect. */
  kill(): Promise<string[]>
}

function startWriter(dir: string, mode: 'append' | 'hold'): Child {
  const child = spawn(process.execPath, [script, dir, mode], { stdio: ['ignore', 'pipe', 'inherit'] })
  const unguard = guard(child.pid ?? 0, 'KILL')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    process: child,
    lines,
    async kill() {
      child.kill('SIGKILL')
      const rest: string[] = []
      for await (const line of lines) rest.push(line)
      await ended(child)
      unguard()
      return rest
    },
  }
}

/** Lets a writer run until it has acknowledged `count` entries, and kills it in whatever it is doing then. */
async function writeAndKill(dir: string, count: number): Promise<string[]> {
  const child = startWriter(dir, 'append')
  const acknowledged: string[] = []
  try {
    const { value: first = '' } = await child.lines.next()
    expect(first).toMatch(/^opened \d+$/)
    while (acknowledged.length < count) {
      const { value, done } = await child.lines.next()
      if (done === true) throw new Error('the writer ended by itself')
      acknowledged.push(value)
    }
  } finally {
    acknowledged.push(...(await child.kill()))
  }
  return acknowledged.filter((line) => /^\d+ [0-9a-f]{64}$/.test(line))
}

/** A sequence that looks random and is the same in every run. */
function* numbers(below: number): Generator<number> {
  for (let state = 12345; ; ) {
    state = (state * 1103515245 + 12345) % 2 ** 31
    yield (state >>> 8) % below
  }
}

describe('kill -9', () => {
  it('at 30 points loses no acknowledged entry and contradicts no signed checkpoint', { timeout: 240_000 }, () =>
    withFolder(async (dir) => {
      const acknowledged = new Map<number, string>()
      const counts = numbers(400)
      let since: string | undefined
      for (let round = 0; round < 30; round++) {
        for (const line of await writeAndKill(dir, counts.next().value ?? 0)) {
          const [index = '', leafHash = ''] = line.split(' ')
          expect(acknowledged.has(Number(index)), `index ${index} was given out twice`).toBe(false)
          acknowledged.set(Number(index), leafHash)
        }
        // What lies there right after the kill extends the checkpoint of the round before.
        expect(await verifyLedger({ dir, vkey, ...(since !== undefined && { since }) })).toMatchObject({ problems: [] })
        const killedAt = await readFile(join(dir, 'checkpoint'), 'utf8')
        const ledger = await openTestLedger(dir)
        const entries = await collect(ledger.read(0))
        await ledger.close()
        for (const [index, leafHash] of acknowledged) expect(entries[index]?.leafHash).toBe(leafHash)
        const report = await verifyLedger({ dir, vkey, since: killedAt })
        expect(report).toMatchObject({ ok: true, entries: entries.length, unsigned: 0 })
        since = await readFile(join(dir, 'checkpoint'), 'utf8')
      }
      expect(acknowledged.size).toBeGreaterThan(1000)
    }),
  )
})

describe('the single-writer lock', () => {
  it('is held by exactly one of several that start at once, and by none after kill -9', { timeout: 120_000 }, () =>
    withFolder(async (dir) => {
      const children = Array.from({ length: 4 }, () => startWriter(dir, 'hold'))
      try {
        const firstLines = await Promise.all(children.map(async ({ lines }) => String((await lines.next()).value)))
        expect(firstLines.filter((line) => line.startsWith('opened'))).toHaveLength(1)
        for (const line of firstLines.filter((line) => !line.startsWith('opened'))) {
          expect(line).toContain('another process is writing the ledger')
        }
        await expect(openTestLedger(dir)).rejects.toMatchObject({ code: 'ledger_unavailable' })
      } finally {
        await Promise.all(children.map((child) => child.kill()))
      }
      const ledger = await openTestLedger(dir)
      await expect(openTestLedger(dir)).rejects.toThrow('another process is writing the ledger')
      await ledger.close()
      await (await openTestLedger(dir)).close()
    }),
  )
})
