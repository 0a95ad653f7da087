import { type Command, UsageError } from '../command.ts'

/** `writ report …`: what the record comes to. */
export const reportCommand: Command = {
  name: 'report',
  summary: 'what the record comes to',
  usage: `
usage: writ report revocation [options]

  revocation  how fast secrets really ended, by engine and cause
`,
  listed: [
    {
      name: 'revocation',
      summary: 'how fast secrets really ended, by engine and cause',
      load: async () => (await import('./report-revocation.ts')).reportRevocationCommand,
    },
  ],
  run: async () => {
    throw new UsageError('writ report takes revocation')
  },
}
