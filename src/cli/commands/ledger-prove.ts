import { join } from 'node:path'
import type { VerifierKey } from '../../ledger/log/note.ts'
import { checkIncluded, verifyReceipt } from '../../ledger/log/receipt.ts'
import { fieldsOf } from '../../ledger/search/find-entries.ts'
import { makeFolder, nodeDisk, replaceFile } from '../../ledger/store/disk.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { logToken, requireFolder } from '../log-place.ts'
import { parseOptions } from '../options.ts'
import { type Candidate, fromBroker, fromLog, mostCandidates } from '../provable.ts'
import { printable } from '../terminal.ts'
import { orNotProved, readKeys } from '../verifying.ts'
import { entryLine } from './ledger-tail.ts'

/** `writ ledger prove`: an entry, and the receipt that proves it offline. */
export const ledgerProveCommand: Command = {
  name: 'prove',
  summary: 'show an entry, or those of a grant, with the proof that it stands in the record',
  usage: `
usage: writ ledger prove INDEX|GRANT|ID [DIR|URL] [--vkey K]… [--archive DIR]… [--out FOLDER] [--json]

Finds the entry at INDEX, or all entries of GRANT (its intent, issuance, renewals and end), or those that name ID: a task, an
approval, a request, or what was minted (database user, certificate serial, lease hash). Of each it makes a receipt
(c2sp.org/tlog-proof): the way from the entry to the root in a signed checkpoint. Every receipt is verified before it is shown.

The record is the ledger in DIR or a copy of it, the C2SP log at URL, or, without either, that of a broker, as far as the holder of
the token may see it. That an entry is not found proves nothing; for what is missing there is writ ledger verify.

  --vkey K      a verifier key (name+id+base64) of the log, kept by whoever verifies; may be given again for a key that
                followed. Without it the proofs are checked, and who signed the checkpoint is not
  --archive DIR a folder that old entries were moved to; may be given again
  --out FOLDER  write each entry to FOLDER/INDEX.json and its receipt to FOLDER/INDEX.tlog-proof
  --json        print {"signature":"verified"|"unchecked","entries":[{"index","origin","size","root","entry","receipt"}]}
${clientHelp}

Exit status: 0 proved, 6 a proof does not hold, 2 usage, 1 not found or not to be read.

examples:
  writ ledger prove 42 ./ledger --vkey "$VKEY" --out evidence
  writ ledger prove gr_01j… --vkey "$VKEY" --out evidence        # from the broker at WRIT_URL
  writ ledger check-receipt evidence/42.tlog-proof --entry evidence/42.json --vkey "$VKEY"
`,
  run,
}

/** One that holds. */
interface Proved extends Candidate {
  readonly origin: string
  readonly size: number
  readonly root: string
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...clientOptions,
      vkey: { type: 'string', multiple: true },
      archive: { type: 'string', multiple: true },
      out: { type: 'string' },
      json: { type: 'boolean' },
    },
    ['INDEX|GRANT|ID', '[DIR|URL]'],
  )
  const [wanted = '', place] = positionals
  if (place !== undefined && values.url !== undefined)
    throw new UsageError('DIR or URL, and --url, contradict each other')
  const keys = readKeys(values.vkey)
  for (const folder of values.archive ?? []) await requireFolder(folder)
  const candidates =
    place === undefined
      ? await fromBroker(connect(values, io), wanted)
      : await fromLog(place, wanted, {
          keys,
          archives: values.archive,
          // Without a place the same option names the token for the broker.
          token: logToken(values['token-file'], io),
        })
  if (candidates.length === 0) throw new CommandError(exit.fault, `no entry that can be proved names ${wanted}`)
  if (candidates.length === mostCandidates) io.stderr(`writ: only the newest ${mostCandidates} are proved\n`)
  const inOrder = candidates.toSorted((one, other) => one.index - other.index)
  const proved = await orNotProved(() => inOrder.map((candidate) => check(candidate, keys)))
  if (values.out !== undefined) for (const one of proved) await keep(values.out, one)
  const signature = keys.length > 0 ? 'verified' : 'unchecked'
  if (values.json) writeJson(io, { signature, entries: proved.map(viewOf) })
  else for (const one of proved) io.stdout(described(one, signature, values.out))
  if (keys.length === 0) io.stderr('writ: who signed the checkpoint was not checked; give --vkey\n')
  return exit.done
}

/** Nothing that made or sent a receipt is believed. @throws ReceiptError */
function check(candidate: Candidate, keys: readonly VerifierKey[]): Proved {
  const { index, bytes: entry, receipt } = candidate
  const of = { receipt, entry }
  const proven = keys.length > 0 ? verifyReceipt({ ...of, keys }) : checkIncluded(of)
  if (proven.index !== index) throw new CommandError(exit.verificationFailed, `the receipt for ${index} is for another`)
  const { origin, size, root } = proven.checkpoint
  return { ...candidate, origin, size, root: Buffer.from(root).toString('hex') }
}

async function keep(folder: string, { index, bytes, receipt }: Proved): Promise<void> {
  try {
    await makeFolder(nodeDisk, folder)
    await replaceFile(nodeDisk, join(folder, `${index}.json`), bytes, 0o644)
    await replaceFile(nodeDisk, join(folder, `${index}.tlog-proof`), Buffer.from(receipt), 0o644)
  } catch (cause) {
    throw new CommandError(exit.fault, `${printable(folder)} cannot be written`, undefined, { cause })
  }
}

const viewOf = ({ index, origin, size, root, bytes, receipt }: Proved) => {
  return { index, origin, size, root, entry: fieldsOf(bytes), receipt }
}

function described(proved: Proved, signature: string, folder: string | undefined): string {
  const { index, origin, size, root, bytes } = proved
  const lines = [
    `         proved: entry ${index} of the ${size} of ${origin}, root ${root}, signature ${signature}`,
    ...(folder === undefined ? [] : [`         kept: ${join(folder, `${index}.json`)} and .tlog-proof`]),
  ]
  return `${entryLine({ index, entry: fieldsOf(bytes) })}${lines.map((line) => `${printable(line)}\n`).join('')}`
}
