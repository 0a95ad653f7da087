import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import type { Config } from '../../config/config.ts'
import { createVerifier } from '../../identity/verify.ts'
import type { PolicySet } from '../../policy/compile.ts'
import type { IssuerPolicy } from '../../policy/issuer.ts'
import { bad, doubtful, type Finding, good } from './finding.ts'

const patienceMs = 10_000
const lookEveryMs = 100

/** Fetches the keys of every issuer as the broker would, and compares audiences with the name of the broker. */
export async function checkIssuers(config: Config, policies: PolicySet, clock: Clock): Promise<Finding[]> {
  const verifier = createVerifier({ issuers: () => policies.issuers, clock, log: silentLog })
  try {
    verifier.start()
    const giveUpMs = clock.now() + patienceMs
    while (verifier.status().some(({ ready }) => !ready) && clock.now() < giveUpMs) await pause(lookEveryMs)
    const keys = verifier.status().map(({ issuer, ready, detail }) => {
      const check = `issuer ${issuer}`
      return ready
        ? good(check, detail)
        : bad(check, detail, `check url and keys of the Issuer ${issuer}, and the network to it`)
    })
    return [...keys, ...audiences(config, policies)]
  } finally {
    verifier.close()
  }
}

function audiences(config: Config, { issuers }: PolicySet): Finding[] {
  const check = 'audience'
  const others = issuers.filter((issuer) => !audiencesOf(issuer).some((name) => isBelow(name, config.url)))
  if (others.length === 0) return [good(check, `every issuer signs for ${config.url}`)]
  const names = others.map((issuer) => `${issuer.name} (${audiencesOf(issuer).join(', ')})`)
  return [
    doubtful(
      check,
      `this broker is ${config.url}, and tokens must be for another audience from ${names.join('; ')}`,
      'set url to the public name of the broker, or the audience of those Issuers to it',
    ),
  ]
}

/** Of its tokens, or of its signals where it signs nothing else. */
const audiencesOf = ({ audience, signals }: IssuerPolicy): readonly string[] =>
  [audience ?? signals?.audience ?? []].flat()

// An audience of its own below the name of the broker is as good: one for each party outside, for instance.
function isBelow(audience: string, url: string): boolean {
  const plain = audience.replace(/\/+$/, '')
  return plain === url || plain.startsWith(`${url}/`)
}
