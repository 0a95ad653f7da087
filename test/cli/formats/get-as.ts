import type { FormatValues } from '../../../src/cli/formats/format.ts'
import { formatNamed } from '../../../src/cli/formats/table.ts'
import type { IssuedCredential } from '../../../src/contract/credential.ts'
import { type Ran, runWrit } from '../run-writ.ts'
import { ended, grantId, issued, scriptedBroker } from '../scripted-broker.ts'

const issue = 'POST /v1/credentials'
const revoke = `POST /v1/grants/${grantId}/revoke`

export interface Got extends Ran {
  /** How often the credential was asked for and handed back. */
  readonly asked: number
  readonly handedBack: number
}

/** Runs `writ get` with these options against a broker that issues this secret. */
export async function getAs(
  secret: Record<string, unknown>,
  args: readonly string[],
  over: Partial<IssuedCredential> = {},
): Promise<Got> {
  const broker = await scriptedBroker({ [issue]: () => issued(60_000, { secret, ...over }), [revoke]: () => ended() })
  try {
    const env = { WRIT_URL: broker.url, WRIT_TOKEN: 't' }
    const ran = await runWrit(['get', '--purpose', 'read-orders', ...args], { env })
    return { ...ran, asked: broker.requests(issue).length, handedBack: broker.requests(revoke).length }
  } finally {
    await broker.close()
  }
}

/** What the format makes of this secret. */
export function write(name: string, secret: Record<string, unknown>, values: FormatValues = {}): string {
  const answer = issued(60_000, { secret }).body as IssuedCredential
  return formatNamed('--format', name).prepare({ values, mapping: [], terminal: false })(answer)
}
