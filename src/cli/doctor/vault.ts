import type { Clock } from '../../base/clock.ts'
import { formatDuration } from '../../base/duration.ts'
import { messageOf } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { openVault } from '../../compose/vault.ts'
import type { Config } from '../../config/config.ts'
import { mintedAs } from '../../engines/delivery.ts'
import { policyLine } from '../../engines/faults.ts'
import { createEngines } from '../../engines/registry.ts'
import type { VaultSession } from '../../engines/vault-session.ts'
import type { PolicySet } from '../../policy/compile.ts'
import { bad, doubtful, type Finding, good } from './finding.ts'

// The default leeway of an issuer: beyond it tokens start to fail.
const greatestSkewMs = 30_000
const pathsPerQuestion = 100

/** Reaches Vault as the broker does: is it there and unsealed, do the clocks agree, does it let the broker in, may it mint? */
export async function checkVault(config: Config, policies: PolicySet | undefined, clock: Clock): Promise<Finding[]> {
  let session: VaultSession
  try {
    session = await openVault(config, clock, silentLog)
  } catch (error) {
    return [bad('vault login', messageOf(error), 'correct the files that vault.auth and vault.caFile name')]
  }
  try {
    const reached = await reach(session, config)
    if (reached.some(({ verdict }) => verdict === 'fail')) return reached
    await session.start()
    const { ok, detail } = session.ready()
    if (!ok) return [...reached, bad('vault login', detail, loginFix(config))]
    const findings = [
      ...reached,
      good('vault login', `logged in with ${config.vault.auth.method}`),
      lifeFinding(session, config, policies, clock),
    ]
    if (policies !== undefined)
      findings.push(...(await permissions(session, policies, config.vault.auth.method, clock)))
    if (config.vault.auth.method !== 'token') await endOwnToken(session)
    return findings
  } finally {
    await session.close()
  }
}

async function reach(session: VaultSession, config: Config): Promise<Finding[]> {
  const address = [config.vault.address].flat().join(', ')
  const health = await session.health()
  if (!health.reachable) {
    return [
      bad('vault', `${address} cannot be reached`, 'check vault.address, the network and, for https, vault.caFile'),
    ]
  }
  if (health.sealed) return [bad('vault', `${address} is sealed`, 'unseal it')]
  const findings = [good('vault', `${address} answers (${health.kind} ${health.version})`)]
  const isOpen = (url: string): boolean => {
    const { protocol, hostname } = new URL(url)
    return protocol === 'http:' && !/^(localhost|127\.|\[::1\])/.test(hostname)
  }
  if ([config.vault.address].flat().some(isOpen)) {
    findings.push(doubtful('vault transport', 'secrets cross the network in the clear', 'give Vault TLS and use https'))
  }
  return [...findings, clockFinding(health.clockSkewMs)]
}

function clockFinding(skewMs: number | undefined): Finding {
  if (skewMs === undefined) return doubtful('clock', 'Vault did not say what time it is', 'compare the clocks by hand')
  const seconds = Math.round(Math.abs(skewMs) / 1000)
  const detail =
    seconds <= 1 ? 'agrees with that of Vault' : `${seconds} s ${skewMs > 0 ? 'behind' : 'ahead of'} that of Vault`
  return Math.abs(skewMs) > greatestSkewMs
    ? bad('clock', `the clock here is ${detail}`, 'run NTP on both machines; tokens and leases are refused otherwise')
    : good('clock', detail)
}

function loginFix({ vault: { auth } }: Config): string {
  if (auth.method === 'token') return 'give the broker a live token that can renew itself (docs/vault-policy.md)'
  const needed =
    auth.method === 'approle' ? 'role id and secret id' : `role ${auth.role}, the token in ${auth.tokenFile}`
  return `check the ${needed}, and that the method ${auth.method} is mounted at ${auth.mount} and gives a renewable service token`
}

/** Whether the token can be kept for as long as credentials live: each ends with the token it was made under. */
function lifeFinding(session: VaultSession, { vault }: Config, policies: PolicySet | undefined, clock: Clock): Finding {
  const [token] = session.generations()
  const check = 'vault token life'
  if (token?.endsAtMs === undefined) return good(check, 'it can be renewed for as long as it is needed')
  const lifeSeconds = Math.floor((token.endsAtMs - clock.now()) / 1000)
  const life = `no renewal keeps it for longer than ${formatDuration(lifeSeconds)}`
  if (vault.auth.method === 'token') {
    return doubtful(
      check,
      `${life}, and every credential made under it ends with it`,
      'give the broker a periodic token',
    )
  }
  const longest = Math.max(0, ...(policies?.credentials ?? []).map(({ maxSeconds = 0 }) => maxSeconds))
  // A new login comes before half of a token's life is over.
  return lifeSeconds >= 2 * longest
    ? good(check, `${life}; the broker logs in anew before half of that is over`)
    : doubtful(
        check,
        `${life}, so a credential lives for half of that at the least, and some may live for ${formatDuration(longest)}`,
        'set token_period on the role, or a token_max_ttl of more than twice the longest credential',
      )
}

async function permissions(
  session: VaultSession,
  policies: PolicySet,
  method: Config['vault']['auth']['method'],
  clock: Clock,
): Promise<Finding[]> {
  const engines = createEngines(session, clock)
  const needed = new Map<string, Set<string>>()
  const need = (path: string, capability: string): void => {
    needed.set(path, (needed.get(path) ?? new Set()).add(capability))
  }
  need('auth/token/lookup-self', 'read')
  need('auth/token/renew-self', 'update')
  if (method !== 'token') need('auth/token/revoke-self', 'update')
  for (const { target, delivery } of policies.credentials) {
    const engine = engines.get(target.engine)
    for (const way of delivery)
      for (const { path, capability } of engine?.needs(target, mintedAs(way)) ?? []) need(path, capability)
  }
  let held: ReadonlyMap<string, readonly string[]>
  try {
    held = await heldCapabilities(session, [...needed.keys()])
  } catch (error) {
    return [bad('vault permissions', messageOf(error), 'allow "update" on sys/capabilities-self')]
  }
  const missing = [...needed].flatMap(([path, capabilities]) => {
    const has = held.get(path) ?? []
    const lacking = has.includes('root') ? [] : [...capabilities].filter((capability) => !has.includes(capability))
    return lacking.length === 0
      ? []
      : [
          bad(
            'vault permission',
            `${lacking.join(' and ')} on ${path} is missing`,
            `add to the Vault policy of the broker: ${policyLine(path, [...capabilities])}`,
          ),
        ]
  })
  return missing.length > 0 ? missing : [good('vault permissions', `all ${needed.size} paths that the policies need`)]
}

async function heldCapabilities(
  session: VaultSession,
  paths: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const held = new Map<string, readonly string[]>()
  for (let at = 0; at < paths.length; at += pathsPerQuestion) {
    const { data } = await session.write('sys/capabilities-self', { paths: paths.slice(at, at + pathsPerQuestion) })
    for (const [path, list] of Object.entries(data ?? {})) {
      if (Array.isArray(list))
        held.set(
          path,
          list.filter((item) => typeof item === 'string'),
        )
    }
  }
  return held
}

// This login was for looking only; no lease hangs on its token.
async function endOwnToken(session: VaultSession): Promise<void> {
  await session.write('auth/token/revoke-self', {}).catch(() => {})
}
