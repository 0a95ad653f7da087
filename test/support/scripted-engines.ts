import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { createEngines, type Engines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { type Answer, json, type ScriptedVault, scriptedVault } from './scripted-vault.ts'

/** Answers by path below `/v1/`. */
export type Script = Readonly<Record<string, Answer>>

/** Engines over a server that answers by path, and refuses what is not in the script. Its token is `canary-token`. */
export async function scriptedEngines(
  script: Script,
  deadlineMs = 10_000,
): Promise<{ engines: Engines; server: ScriptedVault; stop(): Promise<void> }> {
  const server = await scriptedVault((response, request) => {
    const answer = script[request.url.replace('/v1/', '')] ?? json(404, { errors: ['no script for this'] })
    answer(response, request)
  })
  const session = createVaultSession({
    address: server.address,
    auth: { method: 'token', token: new Secret('canary-token') },
    clock: systemClock,
    log: silentLog,
    deadlineMs,
  })
  const stop = async (): Promise<void> => {
    await session.close()
    await server.stop()
  }
  return { engines: createEngines(session, systemClock), server, stop }
}
