import { revocationReportFilterSchema } from '../../contract/report.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { parseOptions } from '../options.ts'
import { table } from '../terminal.ts'

const usage = `
usage: writ report revocation [--from TIME] [--to TIME] [options]

How fast secrets really ended, by engine and cause, from the ledger: from the decision until Vault had ended the secret,
every attempt included. For auditors and operators; owners see the grants of their teams.

  --from TIME         from this time on (default: 30 days before --to), such as 2026-11-01T00:00:00.000Z
  --to TIME           before this time (default: now)
  --json              one document
${clientHelp}
`

/** `writ report revocation`: achieved latency, by engine and cause. */
export const reportRevocationCommand: Command = {
  name: 'revocation',
  summary: 'how fast secrets really ended, by engine and cause',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    ...clientOptions,
    from: { type: 'string' },
    to: { type: 'string' },
    json: { type: 'boolean' },
  })
  const { from, to } = values
  const filter = { ...(from !== undefined && { from }), ...(to !== undefined && { to }) }
  const checked = revocationReportFilterSchema.safeParse(filter)
  if (!checked.success) {
    throw new UsageError(`--${String(checked.error.issues[0]?.path[0])} is a time such as 2026-11-01T00:00:00.000Z`)
  }
  const report = await connect(values, io).revocationReport(filter)
  if (values.json) {
    writeJson(io, report)
    return exit.done
  }
  const ms = (value: number | null): string => (value === null ? '-' : String(value))
  io.stdout(
    table(
      ['ENGINE', 'CAUSE', 'ENDED', 'REVOKED', 'P50 MS', 'P95 MS', 'P99 MS', 'MAX MS', 'RETRIED', 'EXPIRES ONLY'],
      report.rows.map((row) => [
        row.engine,
        row.cause,
        String(row.ended),
        String(row.revoked),
        ms(row.p50_ms),
        ms(row.p95_ms),
        ms(row.p99_ms),
        ms(row.max_ms),
        String(row.retried),
        String(row.expires_only),
      ]),
    ),
  )
  const { unrevoked, irrevocable, expires_only } = report.now
  if (report.rows.length === 0) io.stderr('nothing ended in that time\n')
  if (unrevoked > 0) io.stderr(`${unrevoked} must end and are not revoked yet, ${irrevocable} of them a finding\n`)
  if (expires_only > 0) io.stderr(`${expires_only} have ended and work until they expire\n`)
  return exit.done
}
