import { join } from 'node:path'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { runCommand } from './command.ts'
import { writeHistory } from './history.ts'
import { ledgerIn, ledgerKeyIn, newFolder, origin, removeFolder } from './serve.ts'

/** What it costs to write a log out in one form, by the command, in a process of its own. */
export interface ExportFigures {
  readonly form: string
  readonly perSecond: number
  /** Most resident memory, MB of 10^6 bytes. */
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
    const figures: ExportFigures[] = []
    for (const form of ['jsonl', 'csv', 'ocsf', 'parquet']) {
      const options = ['--vkey', vkey, '--format', form, '--out', at('export')]
      figures.push(await measure(form, entries, ['ledger', 'export', ledgerIn(dir), ...options]))
    }
    const options = ['--key', keyFile, '--names-key', at('names.key'), '--names-key-new', '--out', at('copy')]
    return [...figures, await measure('redacted copy', entries, ['ledger', 'redact', ledgerIn(dir), ...options])]
  } finally {
    await removeFolder(dir)
  }
}

async function measure(form: string, entries: number, args: readonly string[]): Promise<ExportFigures> {
  const { seconds, mostMb } = await runCommand(args)
  return { form, perSecond: entries / seconds, mostMb }
}
