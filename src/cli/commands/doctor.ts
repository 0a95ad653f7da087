import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import type { PolicySet } from '../../policy/compile.ts'
import type { LoadResult, problemText } from '../../policy/load.ts'
import { type Command, exit, type Io, writeJson } from '../command.ts'
import { bad, doubtful, type Finding, good } from '../doctor/finding.ts'
import { isHealthy } from '../doctor/health.ts'
import { requireConfig } from '../load-config.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'

const usage = `
usage: writ doctor [--config writ.yaml] [--json]
       writ doctor --health [--config writ.yaml]

Checks what the broker needs, from where it will run, and says how to fix what is wrong: the configuration, the policies, the
folder and keys of the ledger, the certificate; whether Vault is there, unsealed, lets the broker in and lets it mint what
the policies name; which Vault tokens a broker that runs here keeps, and how many grants hang on each; whether each witness of the ledger is there, has the key that is configured, knows this ledger and has not seen
more of it; the keys of every issuer; the clocks; whether tokens are meant for this broker. It changes nothing.

  --config FILE       the configuration (default: WRIT_CONFIG, then ./writ.yaml when there is one)
  --health            only ask the broker that runs here whether it is alive (exit status 5 when not)
  --json              {"ok":…,"checks":[{"check","verdict":"ok|warn|fail","detail","fix"}]}

Exit status 1 when a check fails; warnings alone exit 0.
`

/** `writ doctor`: check every dependency, permission and clock. */
export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'check every dependency, permission and clock',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    config: { type: 'string' },
    health: { type: 'boolean' },
    json: { type: 'boolean' },
  })
  if (values.health) return health(requireConfig(values.config, io), values.json === true, io)

  const findings: Finding[] = []
  const tell = (more: readonly Finding[]): void => {
    findings.push(...more)
    if (!values.json) for (const finding of more) io.stdout(lineOf(finding))
  }
  await examine(values.config, io, tell)
  const failed = findings.filter(({ verdict }) => verdict === 'fail').length
  const warned = findings.filter(({ verdict }) => verdict === 'warn').length
  if (values.json) writeJson(io, { ok: failed === 0, checks: findings })
  else io.stdout(`\n${findings.length} checks: ${failed} failed, ${warned} to look at\n`)
  return failed === 0 ? exit.done : exit.fault
}

// Each finding is told as soon as it is known: waiting for Vault and issuers can take seconds.
async function examine(file: string | undefined, io: Io, tell: (findings: readonly Finding[]) => void): Promise<void> {
  const { checkOwnToken } = await import('../doctor/own-token.ts')
  tell([await checkOwnToken(io.environment)])
  const loaded = loadConfig({ file: file ?? io.environment.configFile, environment: io.environment })
  if (!loaded.ok) {
    tell(loaded.refusal.map(({ where, message, fix }) => bad('configuration', `${where}: ${message}`, fix)))
    return
  }
  const { config, warnings } = loaded.value
  tell([good('configuration', `${config.url} on ${config.listen.host}:${config.listen.port}`)])
  tell(warnings.map((warning) => doubtful('configuration', warning, 'correct or remove it')))
  // The stages are loaded only here: `--health` runs every few seconds and must stay light.
  const { loadPolicies, problemText } = await import('../../policy/load.ts')
  const policies = await loadPolicies(config.policies)
  tell(policyFindings(policies, problemText, config))
  const { checkFiles } = await import('../doctor/files.ts')
  tell(checkFiles(config, io.clock.now()))
  const { checkWitnesses } = await import('../doctor/witnesses.ts')
  tell(await checkWitnesses(config, io.clock))
  const set = policies.ok ? policies.set : undefined
  const { checkVault } = await import('../doctor/vault.ts')
  const { checkTokens } = await import('../doctor/tokens.ts')
  tell(await checkVault(config, set, io.clock))
  tell(await checkTokens(config))
  const { checkIssuers } = await import('../doctor/issuers.ts')
  if (set !== undefined) tell(await checkIssuers(config, set, io.clock))
}

function policyFindings(loaded: LoadResult, text: typeof problemText, { policies }: Config): Finding[] {
  const check = 'policies'
  if (!loaded.ok) return loaded.problems.map((problem) => bad(check, text(problem), 'writ policy check says more'))
  const { workloadCount, warnings }: PolicySet = loaded.set
  return [
    good(check, `${policies}: ${workloadCount} workloads`),
    ...warnings.map((warning) => doubtful(check, text(warning), 'writ policy check says more')),
  ]
}

async function health(config: Config, json: boolean, io: Io): Promise<number> {
  const alive = await isHealthy(config)
  if (json) writeJson(io, { ok: alive })
  else io.stderr(alive ? 'the broker is alive\n' : 'the broker does not answer\n')
  return alive ? exit.done : exit.unavailable
}

const labels = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const

function lineOf({ verdict, check, detail, fix }: Finding): string {
  const line = `${labels[verdict]}  ${printable(check)}: ${printable(detail)}\n`
  return fix === undefined ? line : `${line}      fix: ${printable(fix)}\n`
}
