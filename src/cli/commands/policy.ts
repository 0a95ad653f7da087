import { type Command, UsageError } from '../command.ts'
import { policyAcceptCommand, policyStatusCommand } from './policy-change.ts'
import { policyDiffCommand } from './policy-diff.ts'
import { policyExplainCommand } from './policy-explain.ts'
import { policyCheckCommand, policySchemaCommand, policyTestCommand } from './policy-files.ts'
import { policyNewCommand } from './policy-new.ts'

const subcommands = [
  policyNewCommand,
  policyCheckCommand,
  policyTestCommand,
  policyExplainCommand,
  policyDiffCommand,
  policySchemaCommand,
  policyStatusCommand,
  policyAcceptCommand,
] as const

/** `writ policy`: what the policies say, before and after they are in force. */
export const policyCommand: Command = {
  name: 'policy',
  summary: 'check, test and explain policies',
  usage: `
usage: writ policy COMMAND

${subcommands.map(({ name, summary }) => `  ${name.padEnd(9)}${summary}`).join('\n')}

\`writ policy COMMAND --help\` explains each. The broker loads policies through the same code.
`,
  subcommands,
  run: () => Promise.reject(new UsageError(`which? ${subcommands.map(({ name }) => name).join(', ')}`)),
}
