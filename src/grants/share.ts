import type { Grant } from './grant.ts'

/**
 * Makes grants that were read back one by one share what many of them have in common: the same names, target and ceilings
 * are then held once, as they are between grants that were issued by this process. Lives as long as one replay.
 */
export function createSharing(): (grant: Grant) => Grant {
  const texts = new Map<string, string>()
  const targets = new Map<string, Grant['target']>()
  const ceilings = new Map<string, Grant['ceilings']>()
  const text = (own: string): string => shared(texts, own, own)
  return (grant) => {
    const { engine, mount, role, paramsDigest } = grant.target
    const limits = grant.ceilings.map(({ name, seconds }) => `${name}=${seconds}`).join('\n')
    return {
      ...grant,
      workload: text(grant.workload),
      issuer: text(grant.issuer),
      subject: text(grant.subject),
      owner: text(grant.owner),
      purpose: text(grant.purpose),
      environment: text(grant.environment),
      credential: text(grant.credential),
      reason: text(grant.reason),
      policy: text(grant.policy),
      target: shared(targets, `${engine}\n${mount}\n${role}\n${paramsDigest}`, grant.target),
      ceilings: shared(ceilings, limits, grant.ceilings),
    }
  }
}

/** The first value seen under the key. */
function shared<T>(pool: Map<string, T>, key: string, own: T): T {
  const known = pool.get(key)
  if (known !== undefined) return known
  pool.set(key, own)
  return own
}
