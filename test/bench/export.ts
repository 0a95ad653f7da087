import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { writeHistory } from './history.ts'
import { ledgerIn, ledgerKeyIn, newFolder, origin, removeFolder } from './serve.ts'

/** What it costs to write a log out in one form, by the command, in a process of its own. */
export interface ExportFigures {
  readonly form: string
  readonly perSecond: number
  /** Most memory the process had, MiB. */
  readonly mostMb: number
}

/** Each format, and a redacted copy, of a log of that many entries. */
export async function measureExports(entries: number): Promise<readonly ExportFigures[]> {
  const dir = await newFolder()
  const at = (name: string): string => join(dir, name)
  try {
    await writeHistory(dir, { ended: Math.ceil(entries / 4), live: 0 })
    const keyFile = ledgerKeyIn(dir)
    const { vkey } = await openLedgerKey({ file: keyFile, origin, create: false })
    const figures = ['jsonl', 'csv', 'ocsf', 'parquet'].map((form) => {
      const options = ['--vkey', vkey, '--format', form, '--out', at('export')]
      return measure(form, entries, ['ledger', 'export', ledgerIn(dir), ...options])
    })
    const options = ['--key', keyFile, '--names-key', at('names.key'), '--names-key-new', '--out', at('copy')]
    return [...figures, measure('redacted copy', entries, ['ledger', 'redact', ledgerIn(dir), ...options])]
  } finally {
    await removeFolder(dir)
  }
}

const bin = fileURLToPath(new URL('../../bin/writ.js', import.meta.url))
// Said by the process itself when it ends, in KiB.
const sayMemory =
  'data:text/javascript,process.on("exit",()=>process.stderr.write(String(process.resourceUsage().maxRSS)))'

function measure(form: string, entries: number, args: readonly string[]): ExportFigures {
  const startedMs = performance.now()
  const { status, stderr } = spawnSync(process.execPath, ['--import', sayMemory, bin, ...args], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const seconds = (performance.now() - startedMs) / 1000
  return { form, perSecond: entries / seconds, mostMb: Number(stderr.split('\n').at(-1)) / 1024 }
}
