import type { EndedGrant } from '../contract/grant.ts'
import { table } from './terminal.ts'

/** What ending grants came to, for a terminal. */
export const endedTable = (grants: readonly EndedGrant[]): string =>
  table(
    ['GRANT', 'CREDENTIAL', 'OUTCOME', 'TOOK'],
    grants.map(({ grant, credential, outcome, latency_ms, works_until }) => [
      grant,
      credential,
      works_until === undefined ? outcome : `${outcome}, works until ${works_until}`,
      `${latency_ms} ms`,
    ]),
  )
