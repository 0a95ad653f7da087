import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { parseOptions } from '../options.ts'

/** `writ ledger archive`: have a broker move old entries to cheaper storage. */
export const ledgerArchiveCommand: Command = {
  name: 'archive',
  summary: 'move old entries to a second folder, on record',
  usage: `
usage: writ ledger archive --before TIME|INDEX [--json]

Asks the broker to move entries to the folder ledger.archive of its configuration; for operators. Each bundle of 256 entries is
copied, synced and read back, then an entry says which were moved and by whom, and only then do the originals go. What was
moved stays readable through the broker, and its proofs can still be made. Entries of the last, open part of the record stay.

  --before TIME   entries before this time, such as 2026-01-01T00:00:00.000Z, or before this INDEX
  --json          print {"from","to","bundles"}
${clientHelp}

Whoever verifies a folder names both: writ ledger verify ./ledger --archive ./archive --vkey "$VKEY"
`,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    ...clientOptions,
    before: { type: 'string' },
    json: { type: 'boolean' },
  })
  const { before } = values
  if (before === undefined) throw new UsageError('--before is needed: a time or an index')
  const moved = await connect(values, io).archive(/^\d{1,15}$/.test(before) ? Number(before) : before)
  const { from, to, bundles } = moved
  if (values.json) writeJson(io, moved)
  else if (bundles === 0) io.stdout('nothing to move: what is left is newer, or in the open part of the record\n')
  else io.stdout(`entries ${from} to ${to - 1} moved, ${bundles} bundles\n`)
  return exit.done
}
