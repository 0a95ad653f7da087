/**
 * What it costs to export a log of a million entries: `node test/bench/export.ts [ENTRIES]` prints entries a second and the most memory
 * for each format, each in a process of its own as a user would run it.
 */
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import { signCheckpoint } from '../../src/ledger/checkpoint.ts'
import { nodeDisk, replaceFile } from '../../src/ledger/disk.ts'
import { leafHash } from '../../src/ledger/merkle.ts'
import { formatSkey, signingKeyOf } from '../../src/ledger/note.ts'
import { createTileFiles } from '../../src/ledger/tile-files.ts'
import { createGrowingTiles } from '../../src/ledger/tiles.ts'
import { endedEntry, intentEntry, issuedEntry, loadedEntry } from '../support/entries.ts'

const origin = 'writ.bench/ledger'
const seed = new Uint8Array(32).fill(7)
const key = signingKeyOf(origin, seed)
const bin = fileURLToPath(new URL('../../bin/writ.js', import.meta.url))

/** A log of grants that are issued and end, each with a workload, a request and a lease of its own. */
async function writeLog(dir: string, entries: number): Promise<void> {
  const files = createTileFiles(nodeDisk, dir)
  const tiles = createGrowingTiles()
  const kinds = [intentEntry, issuedEntry, endedEntry]
  for (let index = 0; index < entries; index++) {
    const body = index === 0 ? loadedEntry : (kinds[index % 3] ?? intentEntry)(Math.floor(index / 3))
    const time = new Date(Date.UTC(2026, 0, 1) + index * 500).toISOString()
    const bytes = Buffer.from(canonicalJson({ ...body, v: 1, time }))
    tiles.append(bytes, leafHash(bytes))
    if (index % 4096 === 0) await flush()
  }
  await flush()
  await files.write(tiles.partial())
  const checkpoint = signCheckpoint({ origin, size: entries, root: tiles.root() }, key)
  await replaceFile(nodeDisk, join(dir, 'checkpoint'), Buffer.from(checkpoint), 0o644)

  async function flush(): Promise<void> {
    const full = tiles.takeFull()
    await files.write(full)
    tiles.written(full)
  }
}

// Said by the process itself when it ends, in KiB.
const sayMemory =
  'data:text/javascript,process.on("exit",()=>process.stderr.write(String(process.resourceUsage().maxRSS)))'

/** Runs the command and says how long it took and how much memory it had at most. */
function measure(args: readonly string[]): { readonly seconds: number; readonly mib: number } {
  const startedMs = performance.now()
  const { status, stderr } = spawnSync(process.execPath, ['--import', sayMemory, bin, ...args], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return { seconds: (performance.now() - startedMs) / 1000, mib: Number(stderr.split('\n').at(-1)) / 1024 }
}

async function main(): Promise<void> {
  const entries = Number(process.argv[2] ?? 1_000_000)
  const folder = await mkdtemp(join(tmpdir(), 'writ-bench-'))
  const at = (name: string): string => join(folder, name)
  try {
    await writeLog(at('log'), entries)
    const say = (what: string, { seconds, mib }: ReturnType<typeof measure>, bytes: number): void => {
      const rate = Math.round(entries / seconds).toLocaleString('en-US')
      const size = Math.round(bytes / 2 ** 20).toLocaleString('en-US')
      console.log(`| ${what} | ${rate} | ${Math.round(mib)} | ${size} |`)
    }
    console.log('| format | entries/s | most memory, MiB | written, MiB |\n| --- | --- | --- | --- |')
    for (const format of ['jsonl', 'csv', 'ocsf', 'parquet']) {
      const figures = measure([
        ...['ledger', 'export', at('log'), '--vkey', key.vkey, '--format', format, '--out', at(format)],
      ])
      say(format, figures, (await stat(at(format))).size)
      await rm(at(format))
    }
    await replaceFile(nodeDisk, at('ledger.key'), Buffer.from(formatSkey(origin, seed)), 0o600)
    const redact = ['ledger', 'redact', at('log'), '--key', at('ledger.key'), '--names-key', at('names.key')]
    say('redacted copy', measure([...redact, '--names-key-new', '--out', at('copy')]), 0)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

await main()
