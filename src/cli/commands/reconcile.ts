import type { ReconcileResult } from '../../contract/reconcile.ts'
import { type Command, exit, type Io, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import type { BrokerClient } from '../http-client.ts'
import { parseOptions } from '../options.ts'
import { printable, table } from '../terminal.ts'

/** `writ reconcile`: compare what Vault holds with what the ledger says, now. */
export const reconcileCommand: Command = {
  name: 'reconcile',
  summary: 'compare the leases in Vault with the ledger',
  usage: `
usage: writ reconcile [--dry-run] [--json]
       writ reconcile --status [--json]

Has the broker compare the leases that Vault lists with the ledger, as it does by itself at the start and every minute: a lease
that no grant accounts for is revoked, a grant whose secret has ended in Vault is ended, with the cause as far as it can be told.
For operators; who asked is on record. A round of the interval that is under way is waited for.

  --dry-run       say what would be revoked and ended, and change nothing
  --status        how far the round under way is, and what the last one came to
  --json          one document
${clientHelp}

Exit status 1 when some role could not be compared or some lease not be ended (the others were), and 5 when none could.

example:
  writ reconcile --dry-run
`,
  run,
}

const pollMs = 1_000

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    ...clientOptions,
    'dry-run': { type: 'boolean' },
    status: { type: 'boolean' },
    json: { type: 'boolean' },
  })
  const client = connect(values, io)
  if (values.status) return status(client, values.json ?? false, io)
  const stopShowing = showProgress(client, io)
  const result = await client.reconcile(values['dry-run'] ?? false).finally(stopShowing)
  if (values.json) writeJson(io, result)
  else report(result, io)
  return exitStatus(result)
}

async function status(client: BrokerClient, json: boolean, io: Io): Promise<number> {
  const found = await client.reconcileStatus()
  const { running, last } = found
  if (json) {
    writeJson(io, found)
    return exit.done
  }
  if (running !== null) {
    const { roles_done: done, roles, leases, orphans, gone } = running
    io.stdout(
      `under way since ${running.started_at}: ${done} of ${roles} roles, ${leases} leases, ${orphans} orphans, ${gone} gone\n`,
    )
  }
  if (last === null) io.stdout('no round has ended yet\n')
  else {
    io.stdout(`the last round began at ${last.started_at}\n`)
    report(last, io)
  }
  return exit.done
}

function report(result: ReconcileResult, io: Io): void {
  io.stdout(
    table(
      ['ROLE', 'LEASES', 'GRANTS', 'ORPHANS', 'OF OTHERS', 'GONE'],
      result.roles.map(({ mount, role, leases, grants, orphans, foreign, gone }) => [
        printable(`${mount}/${role}`),
        ...[leases, grants, orphans, foreign, gone].map(String),
      ]),
    ),
  )
  for (const { credential, lease_hash: hash } of result.orphan_leases)
    io.stdout(`orphan ${hash} ${printable(credential ?? '')}\n`)
  for (const { grant, detail } of result.gone_grants) io.stdout(`gone ${grant}: ${printable(detail)}\n`)
  const would = result.dry_run ? 'would be ' : ''
  io.stderr(
    `${result.orphans} orphans ${would}revoked, ${result.gone} grants found gone ${result.dry_run ? 'and would be ended ' : ''}in ${result.took_ms} ms\n`,
  )
  if (result.foreign > 0) io.stderr(`${result.foreign} leases are of others and were left: see the findings\n`)
  if (result.unsettled > 0)
    io.stderr(`${result.unsettled} mints have no outcome yet and are settled within two minutes\n`)
  for (const { mount, role, problem } of result.roles)
    if (problem !== null) io.stderr(`${printable(`${mount}/${role}`)}: ${printable(problem)}\n`)
}

function exitStatus({ complete, roles }: ReconcileResult): number {
  if (complete) return exit.done
  return roles.every(({ problem, leases }) => problem !== null && leases === 0) ? exit.unavailable : exit.fault
}

/** One line on a terminal, once it has taken a second; returns what ends it. */
function showProgress(client: BrokerClient, io: Io): () => void {
  if (!io.isTty.stderr) return () => {}
  let over = false
  let shown = false
  async function show(): Promise<void> {
    const { running } = await client.reconcileStatus()
    if (over || running === null) return
    shown = true
    io.stderr(
      `\r${running.roles_done} of ${running.roles} roles, ${running.leases} leases, ${running.orphans} orphans `,
    )
  }
  let timer = io.clock.after(pollMs, poll)
  function poll(): void {
    void show()
      .catch(() => {})
      .then(() => {
        if (!over) timer = io.clock.after(pollMs, poll)
      })
  }
  return () => {
    over = true
    timer.cancel()
    if (shown) io.stderr('\r\u001b[2K')
  }
}
