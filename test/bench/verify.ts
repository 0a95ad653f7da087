import { closeSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { sha256Text } from '../../src/ledger/log/merkle.ts'
import { type CommandRun, runCommand } from './command.ts'
import { writeHistory } from './history.ts'
import { median } from './load.ts'
import { ledgerIn, ledgerKeyIn, newFolder, origin, removeFolder } from './serve.ts'

/** What it costs to verify a whole ledger, by the command, in a process of its own; and what the machine could do at best. */
export interface VerifyFigures {
  readonly entries: number
  /** The start of the process included. Median of the runs. */
  readonly perSecond: number
  /** Most resident memory that any of the runs had, MB of 10^6 bytes. */
  readonly mostMb: number
  /** Of all its files. */
  readonly bytes: number
  /** Opening and reading all its files, by one thread. */
  readonly readSeconds: number
  /** SHA-256 of as many leaves of that size and as many nodes, by one thread. */
  readonly hashSeconds: number
}

/** Verifies a ledger of at least that many entries, time and again. */
export async function measureVerification(atLeast: number, runs: number): Promise<VerifyFigures> {
  const dir = await newFolder()
  try {
    await writeHistory(dir, { ended: Math.ceil(atLeast / 4), live: 0 })
    const { vkey } = await openLedgerKey({ file: ledgerKeyIn(dir), origin, create: false })
    const ledger = ledgerIn(dir)
    // In a checkout, the first run compiles from TypeScript and keeps the result; a published build has nothing to strip.
    const { entries } = await verify(ledger, vkey)
    const measured = []
    for (let run = 0; run < runs; run++) measured.push(await verify(ledger, vkey))
    const { bytes, seconds: readSeconds } = readAll(ledger)
    return {
      entries,
      perSecond: entries / median(measured.map(({ seconds }) => seconds)),
      mostMb: Math.max(...measured.map(({ mostMb }) => mostMb)),
      bytes,
      readSeconds,
      hashSeconds: secondsToHash(entries, Math.round(bytes / entries)),
    }
  } finally {
    await removeFolder(dir)
  }
}

async function verify(ledger: string, vkey: string): Promise<CommandRun & { entries: number }> {
  const run = await runCommand(['ledger', 'verify', ledger, '--vkey', vkey, '--json'])
  return { ...run, ...(JSON.parse(run.stdout) as { entries: number }) }
}

function readAll(dir: string): { bytes: number; seconds: number } {
  const into = Buffer.allocUnsafe(1 << 20)
  let bytes = 0
  const startedMs = performance.now()
  for (const found of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (!found.isFile()) continue
    const file = openSync(join(found.parentPath, found.name), 'r')
    for (let count = readSync(file, into); count > 0; count = readSync(file, into)) bytes += count
    closeSync(file)
  }
  return { bytes, seconds: (performance.now() - startedMs) / 1000 }
}

function secondsToHash(count: number, bytesEach: number): number {
  const leaf = Buffer.alloc(bytesEach, 7)
  const node = Buffer.alloc(65, 7)
  const startedMs = performance.now()
  for (let i = 0; i < count; i++) {
    sha256Text(leaf)
    sha256Text(node)
  }
  return (performance.now() - startedMs) / 1000
}
