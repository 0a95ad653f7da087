import { messageOf } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { type DevStack, startDevStack } from '../../dev/stack.ts'
import { type Command, exit, type Io, writeJson } from '../command.ts'
import { copyOfPolicies, type EditablePolicies } from '../demo/policy-edit.ts'
import { proof } from '../demo/proof.ts'
import { type Scene, type Seen, story } from '../demo/story.ts'
import { startDevBroker } from '../dev-broker.ts'
import { explainStart, policiesFolder, refuseProduction, vaultChoice } from '../dev-options.ts'
import { createBrokerClient } from '../http-client.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'

const usage = `
usage: writ demo [options]

Runs the whole story once and exits: a service fetches a real PostgreSQL user, an agent is refused and then works within a
task, an owner approves, an edit of the policies ends what rested on it, a switch is pulled, the record is verified offline, and a tampered copy of it is caught. Everything listens on 127.0.0.1 and is
gone afterwards.

  --vault KIND     embedded (default), bao, or the URL of a running Vault (with VAULT_TOKEN); as for writ dev
  --policies DIR   the policies (default: ./policies when it is there, else the examples that come with writ)
  --json           one JSON line a step: {"step":"…","ok":true,…}

Exit status: 0 every step was seen to be true, 1 otherwise.
`

/** `writ demo`: the main job, from nothing to a credential and its proof. */
export const demoCommand: Command = {
  name: 'demo',
  summary: 'see the whole story once, from token to proof',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    vault: { type: 'string' },
    policies: { type: 'string' },
    json: { type: 'boolean' },
  })
  refuseProduction('writ demo', io)
  const vault = vaultChoice(values.vault, io)
  const policies = await copyOfPolicies(policiesFolder(values.policies))
  const startedMs = performance.now()
  const tell = teller(io, values.json === true)
  const stack = await startDevStack({
    issuerPort: 0,
    policiesDir: policies.dir,
    vault,
    env: io.environment.child(),
    log: silentLog,
    onProgress: (step) => io.stderr(`writ demo: ${step}\n`),
  })
    .catch(async (error: unknown) => {
      await policies.remove()
      throw error
    })
    .catch(explainStart)
  const stop = () => stack.stop().finally(policies.remove)
  // An interrupt in the middle leaves nothing behind either.
  const release = io.onSignal(['SIGINT', 'SIGTERM'], () => void stop().finally(() => process.exit(exit.fault)))
  try {
    const passed = await tellAll(stack, policies, tell)
    tell.end(passed, (performance.now() - startedMs) / 1000)
    return passed ? exit.done : exit.fault
  } finally {
    await stop()
    release()
  }
}

async function tellAll(stack: DevStack, policies: EditablePolicies, tell: ReturnType<typeof teller>): Promise<boolean> {
  const broker = await startDevBroker(stack, {
    port: 0,
    policiesDir: policies.dir,
    log: silentLog,
    reviewedAtMs: Date.now(),
  })
  let passed = true
  try {
    const as = (name: string) => createBrokerClient({ url: broker.url, token: () => stack.issuer.token({ as: name }) })
    for (const scene of story({ as, databaseUrl: stack.postgres.url, policies }))
      passed = (await play(scene, tell)) && passed
  } finally {
    await broker.close()
  }
  for (const scene of proof(broker.ledger)) passed = (await play(scene, tell)) && passed
  return passed
}

async function play(scene: Scene, tell: ReturnType<typeof teller>): Promise<boolean> {
  const seen = await scene.show().catch((error: unknown): Seen => ({ ok: false, words: messageOf(error) }))
  tell.scene(scene, seen)
  return seen.ok
}

function teller(io: Io, json: boolean) {
  let number = 0
  return {
    scene({ step, title }: Scene, { ok, words, facts }: Seen): void {
      number++
      if (json) writeJson(io, { step, ok, detail: words, ...facts })
      else io.stdout(`\n${number}. ${title}\n   ${ok ? '✓' : '✗'} ${printable(words)}\n`)
    },
    end(ok: boolean, seconds: number): void {
      if (!json)
        io.stdout(`\n${ok ? 'All of it was seen to be true' : 'NOT all of it was true'}, in ${seconds.toFixed(1)} s.\n`)
    },
  }
}
