import { type Command, exit, type Io, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'

const usageOf = (name: string, does: string): string => `
usage: writ ${name} APPROVAL [--reason TEXT] [options]

${does} The token must be that of a member of a team that may decide; the requester itself never can.

  --reason TEXT       for the record
  --json              the whole approval
${clientHelp}

example:
  writ ${name} ap_01jd2k… --token-file ~/.writ/token --reason "incident 4711"
`

/** `writ approve`: let a waiting request through. */
export const approveCommand: Command = {
  name: 'approve',
  summary: 'say yes to a request that waits for you',
  usage: usageOf('approve', 'Says yes to a request that waits for an approval.'),
  run: (args, io) => decide('approve', args, io),
}

/** `writ deny`: refuse a waiting request. */
export const denyCommand: Command = {
  name: 'deny',
  summary: 'say no to a request that waits for you',
  usage: usageOf('deny', 'Says no to a request that waits for an approval.'),
  run: (args, io) => decide('deny', args, io),
}

async function decide(verdict: 'approve' | 'deny', args: readonly string[], io: Io): Promise<number> {
  const options = { ...clientOptions, reason: { type: 'string' }, json: { type: 'boolean' } } as const
  const { values, positionals } = parseOptions(args, options, ['APPROVAL'])
  const approval = await connect(values, io).decideApproval(positionals[0] ?? '', verdict, values.reason)
  if (values.json) {
    writeJson(io, approval)
    return exit.done
  }
  const { status, workload, purpose, credential, approved_by } = approval
  const what = `${workload}, ${purpose}, ${credential}`
  const more = status === 'pending' ? `; one more yes is needed (so far: ${approved_by.join(', ')})` : ''
  io.stdout(`${approval.approval} is ${status}${printable(more)} (${printable(what)})\n`)
  return exit.done
}
