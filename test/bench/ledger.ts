/**
 * Durable appends per second, against what the same disk does in the same run. Run: `node test/bench/ledger.ts`.
 */
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { openFileLedger } from '../../src/ledger/file.ts'
import { generateLedgerKey } from '../../src/ledger/keys.ts'
import { parseSkey } from '../../src/ledger/note.ts'
import { intentEntry } from '../support/entries.ts'

const origin = 'bench.example/ledger'
const at = (sorted: readonly number[], share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0

async function syncTime(dir: string, bytes: number): Promise<number> {
  const file = await open(join(dir, 'plain'), 'w')
  const data = Buffer.alloc(bytes, 97)
  const times: number[] = []
  for (let i = 0; i < 300; i++) {
    const start = performance.now()
    await file.write(data, 0, bytes, i * bytes)
    await file.datasync()
    times.push(performance.now() - start)
  }
  await file.close()
  return at(
    times.sort((a, b) => a - b),
    0.5,
  )
}

async function appendRate(dir: string, atOnce: number, total: number): Promise<void> {
  const key = parseSkey(generateLedgerKey(origin).skeyText)
  const ledger = await openFileLedger({ dir: join(dir, `l${atOnce}`), origin, key, clock: systemClock, log: silentLog })
  const times: number[] = []
  let left = total
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const start = performance.now()
      await ledger.append(intentEntry(left))
      times.push(performance.now() - start)
    }
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: atOnce }, worker))
  const seconds = (performance.now() - start) / 1000
  const closing = performance.now()
  await ledger.close()
  times.sort((a, b) => a - b)
  const rate = Math.round(total / seconds)
  console.log(
    `append, ${atOnce} at once: ${rate}/s, p50 ${at(times, 0.5).toFixed(2)} ms, p99 ${at(times, 0.99).toFixed(2)} ms ` +
      `(close ${(performance.now() - closing).toFixed(1)} ms)`,
  )
  const opening = performance.now()
  const again = await openFileLedger({ dir: join(dir, `l${atOnce}`), origin, key, clock: systemClock, log: silentLog })
  console.log(`  open with ${again.head().size} entries: ${(performance.now() - opening).toFixed(0)} ms`)
  const reading = performance.now()
  let count = 0
  for await (const _ of again.read(0)) count++
  console.log(`  read ${count} entries: ${Math.round(count / ((performance.now() - reading) / 1000))}/s`)
  await again.close()
}

const dir = await mkdtemp(join(tmpdir(), 'writ-bench-'))
try {
  for (const bytes of [800, 64 * 800]) {
    console.log(`write and fdatasync of ${bytes} bytes: p50 ${(await syncTime(dir, bytes)).toFixed(2)} ms`)
  }
  await appendRate(dir, 1, 2000)
  await appendRate(dir, 64, 100_000)
  await appendRate(dir, 1000, 100_000)
} finally {
  await rm(dir, { recursive: true })
}
