import { spawn } from 'node:child_process'
import { cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { ended, guard } from '../support/child.ts'
import { collect, openTestLedger, testKey, withFolder } from '../support/ledger.ts'

const script = join(import.meta.dirname, 'ledger-killpoint.ts')
const { vkey } = testKey

interface Life {
  readonly acknowledged: ReadonlyMap<number, string>
  /** The newest checkpoint that was served. */
  readonly checkpoint: string | undefined
  /** Operations on the disk in a life that was not cut short. */
  readonly operations: number | undefined
}

/** Lives the life of the script in `dir`, up to that operation. */
async function live(dir: string, killAt: number): Promise<Life> {
  const child = spawn(process.execPath, [script, dir, String(killAt)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const unguard = guard(child.pid ?? 0, 'KILL')
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await ended(child)
  unguard()
  const acknowledged = new Map<number, string>()
  let checkpoint: string | undefined
  let operations: number | undefined
  for (const line of text.split('\n')) {
    const [kind, value = '', leafHash = ''] = line.split(' ')
    if (kind === 'entry') acknowledged.set(Number(value), leafHash)
    if (kind === 'checkpoint') checkpoint = Buffer.from(value, 'base64').toString('utf8')
    if (kind === 'operations') operations = Number(value)
  }
  return { acknowledged, checkpoint, operations }
}

/** Nothing acknowledged is lost, nothing served is contradicted, and the folder can be verified before and after a restart. */
async function expectSound(dir: string, { acknowledged, checkpoint }: Life): Promise<void> {
  const since = checkpoint === undefined ? {} : { since: checkpoint }
  if (checkpoint !== undefined) expect(await verifyLedger({ dir, vkey, ...since })).toMatchObject({ problems: [] })
  const ledger = await openTestLedger(dir, { segmentBytes: 15_000 })
  const entries = await collect(ledger.read(0))
  await ledger.close()
  for (const [index, leafHash] of acknowledged) expect(entries[index]?.leafHash, `entry ${index}`).toBe(leafHash)
  const report = await verifyLedger({ dir, vkey, ...since })
  expect(report).toMatchObject({ ok: true, entries: entries.length, unsigned: 0 })
}

// A life has some hundred operations and each costs a process, so every few of them are tried, never the same few.
const step = 3

describe('kill -9 at any operation on the disk', () => {
  it.each(['a new ledger', 'a ledger that was killed before'])(
    'of %s loses no acknowledged entry and contradicts no checkpoint that was served',
    { timeout: 300_000 },
    (which) =>
      withFolder(async (folder) => {
        const seed = join(folder, 'seed')
        await mkdir(seed)
        if (which !== 'a new ledger') await live(seed, 60)
        const whole = join(folder, 'whole')
        await cp(seed, whole, { recursive: true })
        const { operations = 0, acknowledged } = await live(whole, -1)
        expect(acknowledged.size).toBe(360)
        expect(operations).toBeGreaterThan(80)
        const offset = Math.floor(Math.random() * step)
        const points = Array.from({ length: Math.ceil(operations / step) }, (_, i) => i * step + offset)
        for (let i = 0; i < points.length; i += 2) {
          await Promise.all(
            points.slice(i, i + 2).map(async (point) => {
              const dir = join(folder, String(point))
              await cp(seed, dir, { recursive: true })
              const before = await live(dir, point)
              await expectSound(dir, before).catch((error: unknown) => {
                throw new Error(`killed at operation ${point} of ${operations}`, { cause: error })
              })
            }),
          )
        }
      }),
  )
})
