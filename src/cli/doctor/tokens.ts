import type { Config } from '../../config/config.ts'
import { type Readiness, readinessSchema } from '../../contract/readiness.ts'
import { type Finding, good } from './finding.ts'
import { askHere } from './health.ts'

// No more of it than is asked for: the rest may differ from version to version.
const tokensSchema = readinessSchema.pick({ vault: true })

/** Which Vault tokens the broker that runs here keeps alive, and what hangs on them; nothing when none runs here. */
export async function checkTokens(config: Config): Promise<Finding[]> {
  const answer = await askHere(config, '/readyz')
  return tokensIn(answer?.body).map(({ generation, current, grants, logged_in_at, expires_at, ends_at }) =>
    good(
      `vault token ${generation}`,
      `${current ? 'mints' : 'kept for its leases'}, ${grants} live grants, from ${logged_in_at}, ` +
        `${expires_at === null ? 'does not end' : `ends at ${expires_at} unless renewed`}` +
        `${ends_at === null ? '' : `, at ${ends_at} at the latest`}`,
    ),
  )
}

function tokensIn(body: string | undefined): Readiness['vault']['tokens'] {
  try {
    return tokensSchema.parse(JSON.parse(body ?? '')).vault.tokens
  } catch {
    // Another program listens there, or a broker of quite another version.
    return []
  }
}
