import type { PolicyStatus } from '../../contract/policy.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { parseOptions } from '../options.ts'
import { printable, table } from '../terminal.ts'

/** `writ policy status`: what is in force, and what waits for an operator. */
export const policyStatusCommand: Command = {
  name: 'status',
  summary: 'show the policies in force, and what they would end that waits for an operator',
  usage: `
usage: writ policy status [options]

A change of the policies that would end many live grants at once is in force for every request from the start, and the ends wait
for an operator. This shows whether anything waits, and why. For operators and auditors.

  --json              the whole status
${clientHelp}

Exit status: 0 whether or not anything waits.
`,
  async run(args, io) {
    const { values } = parseOptions(args, { ...clientOptions, json: { type: 'boolean' } })
    const status = await connect(values, io).policies()
    if (values.json) writeJson(io, status)
    else show(status, io)
    return exit.done
  },
}

/** `writ policy accept`: let the policies in force end what they held back. */
export const policyAcceptCommand: Command = {
  name: 'accept',
  summary: 'let the policies in force end the grants that wait for it',
  usage: `
usage: writ policy accept DIGEST [options]

Says yes to the end of the grants that \`writ policy status\` shows as waiting. DIGEST is the one it shows, or at least its first
twelve digits, so that nobody accepts another set than the one that was looked at. To say no, take the change back and reload.

  --json              the status after it; "ending" counts the grants whose end is under way
${clientHelp}

Exit status: 0 accepted, 1 nothing is held under that digest, 3 not an operator.
`,
  async run(args, io) {
    const { values, positionals } = parseOptions(args, { ...clientOptions, json: { type: 'boolean' } }, ['DIGEST'])
    const [given = ''] = positionals
    if (!/^[0-9a-f]{12,64}$/.test(given)) throw new UsageError('DIGEST is 12 to 64 hexadecimal digits')
    const client = connect(values, io)
    const { held } = await client.policies()
    if (held === null) throw new CommandError(exit.fault, 'nothing is held', 'look with writ policy status')
    if (!held.digest.startsWith(given)) {
      throw new CommandError(exit.fault, `${held.digest} is held, not ${given}`, 'look at it with writ policy status')
    }
    const status = await client.acceptPolicies(held.digest)
    if (values.json) writeJson(io, status)
    else io.stdout(`accepted; the end of ${status.ending} grants is under way\n`)
    return exit.done
  },
}

function show({ digest, loaded_at, workloads, refused, held, ending }: PolicyStatus, io: Io): void {
  io.stdout(`policies ${digest}\n${workloads} workloads, in force since ${loaded_at}\n`)
  if (refused !== null) {
    const problems = refused.problems.map((problem) => `  ${printable(problem)}\n`).join('')
    io.stdout(`a later set was refused at ${refused.at}:\n${problems}`)
  }
  if (ending > 0) io.stdout(`${ending} grants are being ended, because these policies do not support them\n`)
  if (held === null) return
  io.stdout(`\nHELD since ${held.since}: ${held.would_end} of ${held.live} live grants would end\n`)
  io.stdout(
    table(
      ['GRANTS', 'REASON'],
      held.reasons.map(({ grants, reason }) => [String(grants), reason]),
    ),
  )
  io.stdout(`to let them end: writ policy accept ${held.digest.slice(0, 12)}\n`)
}
