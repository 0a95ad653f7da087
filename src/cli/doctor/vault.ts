import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { openVault } from '../../compose/vault.ts'
import type { Config } from '../../config/config.ts'
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
    const findings = [...reached, good('vault login', `logged in with ${config.vault.auth.method}`)]
    if (policies !== undefined) findings.push(...(await permissions(session, policies, clock)))
    if (config.vault.auth.method === 'approle') await endOwnToken(session)
    return findings
  } finally {
    await session.close()
  }
}

async function reach(session: VaultSession, config: Config): Promise<Finding[]> {
  const { address } = config.vault
  const health = await session.health()
  if (!health.reachable) {
    return [
      bad('vault', `${address} cannot be reached`, 'check vault.address, the network and, for https, vault.caFile'),
    ]
  }
  if (health.sealed) return [bad('vault', `${address} is sealed`, 'unseal it')]
  const findings = [good('vault', `${address} answers (${health.kind} ${health.version})`)]
  const { protocol, hostname } = new URL(address)
  if (protocol === 'http:' && !/^(localhost|127\.|\[::1\])/.test(hostname)) {
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
  return `check the role id and secret id, and that the AppRole method is mounted at ${auth.mount}`
}

async function permissions(session: VaultSession, policies: PolicySet, clock: Clock): Promise<Finding[]> {
  const engines = createEngines(session, clock)
  const needed = new Map<string, Set<string>>()
  const need = (path: string, capability: string): void => {
    needed.set(path, (needed.get(path) ?? new Set()).add(capability))
  }
  need('auth/token/lookup-self', 'read')
  need('auth/token/renew-self', 'update')
  for (const { target, delivery } of policies.credentials) {
    const engine = engines.get(target.engine)
    for (const way of delivery)
      for (const { path, capability } of engine?.needs(target, way) ?? []) need(path, capability)
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
