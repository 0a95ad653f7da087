import { rm } from 'node:fs/promises'
import { messageOf } from '../../base/errors.ts'
import type { Running } from '../../compose.ts'
import { type DevStack, startDevStack, writeReadyFile } from '../../dev/stack.ts'
import { createLog } from '../../http/log.ts'
import { signalStatus } from '../child.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { startDevBroker } from '../dev-broker.ts'
import { explainStart, policiesFolder, refuseProduction, vaultChoice } from '../dev-options.ts'
import { parseOptions } from '../options.ts'
import { devTokenCommand } from './dev-token.ts'

const usage = `
usage: writ dev [options]
       writ dev token --as NAME [options]

Starts everything in one process, to try writ out: an OIDC issuer that signs for the issuers of the policies, a Vault, a real
PostgreSQL with sample tables, and the broker. All of it listens on 127.0.0.1 alone and ends with the command.

  --port N            port of the broker (default 8787; 0 takes a free one); the issuer takes the one after it
  --data DIR          keep the ledger and the database here (default: a temporary folder, removed at the end)
  --policies DIR      the policies (default: ./policies when it is there, else the examples that come with writ)
  --vault KIND        embedded (default): a development server with real effects, in this process;
                      bao: starts the bao (or vault) on PATH; URL: one that runs, set up with VAULT_TOKEN
  --ready-file FILE   write where everything is to this file (mode 0600) once it all answers
  --json              print the same as one JSON line on stdout

The answer holds the root token of that Vault and the password of that database: it is for development. writ dev refuses
to start where NODE_ENV is production. writ dev token --help tells how to get workload tokens.
`

/** `writ dev`: everything in one process. */
export const devCommand: Command = {
  name: 'dev',
  summary: 'run everything in one process, to try it out',
  usage,
  subcommands: [devTokenCommand],
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    port: { type: 'string' },
    data: { type: 'string' },
    policies: { type: 'string' },
    vault: { type: 'string' },
    'ready-file': { type: 'string' },
    json: { type: 'boolean' },
  })
  refuseProduction('writ dev', io)
  const port = portOf(values.port)
  const policiesDir = policiesFolder(values.policies)
  // One that a killed run left behind would tell whoever waits for it the wrong place.
  if (values['ready-file'] !== undefined) await rm(values['ready-file'], { force: true })
  const stop = stopSignal(io)
  const log = createLog({ level: 'warn' })
  let stack: DevStack | undefined
  let broker: Running | undefined
  try {
    stack = await startDevStack({
      // Zero stays zero: each part then takes a free port of its own.
      issuerPort: port === 0 ? 0 : port + 1,
      policiesDir,
      vault: vaultChoice(values.vault, io),
      env: io.environment.child(),
      log,
      ...(values.data === undefined ? {} : { dataDir: values.data }),
      onProgress: (step) => io.stderr(`writ dev: ${step}\n`),
    })
    if (stop.wasAsked()) return exit.done
    broker = await startDevBroker(stack, { port, policiesDir, log })
    const ready = readyDocument(stack, broker)
    if (values['ready-file'] !== undefined) await writeReadyFile(values['ready-file'], ready)
    if (values.json === true) writeJson(io, ready)
    else io.stdout(describe(ready))
    const ended = await Promise.race([stop.asked, broker.failed])
    if (typeof ended === 'string') return exit.done
    throw new CommandError(exit.fault, `the ledger can no longer be written: ${messageOf(ended)}`)
  } catch (error) {
    return explainStart(error)
  } finally {
    if (values['ready-file'] !== undefined) await rm(values['ready-file'], { force: true })
    await broker?.close()
    await stack?.stop()
    log.flush()
    stop.release()
    // Nothing is left to do: a handle that somebody forgot must not keep the process from ending.
    setTimeout(() => process.exit(), 250).unref()
  }
}

function portOf(text: string | undefined): number {
  if (text === undefined) return 8787
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_534) throw new UsageError('--port is a number from 0 to 65534')
  return port
}

/** What the contract says the ready file and the first JSON line hold. */
interface Ready {
  readonly url: string
  readonly issuer: string
  readonly vault: { readonly address: string; readonly token: string; readonly kind: string }
  readonly postgres: { readonly url: string }
  readonly ledger: { readonly dir: string; readonly vkey: string }
  readonly data: string
}

function readyDocument(stack: DevStack, broker: Running): Ready {
  const { address, token, kind } = stack.vault
  return {
    url: broker.url,
    issuer: stack.issuer.url,
    vault: { address, token, kind },
    postgres: { url: stack.postgres.url },
    ledger: broker.ledger,
    data: stack.dataDir,
  }
}

const describe = (ready: Ready): string => `
  broker    ${ready.url}
  issuer    ${ready.issuer}
  vault     ${ready.vault.address} (${ready.vault.kind}), root token ${ready.vault.token}
  postgres  ${ready.postgres.url}
  ledger    ${ready.ledger.dir}
            ${ready.ledger.vkey}

try it:
  export WRIT_URL=${ready.url} WRIT_TOKEN="$(npx writ dev token --as checkout --issuer ${ready.issuer})"
  npx writ get --purpose read-orders

Ctrl-C ends it all.
`

/** Resolves at the first signal to stop, also while things are starting; the second ends the process. */
function stopSignal(io: Io): { readonly asked: Promise<NodeJS.Signals>; wasAsked(): boolean; release(): void } {
  const { promise, resolve: settle } = Promise.withResolvers<NodeJS.Signals>()
  let count = 0
  const release = io.onSignal(['SIGTERM', 'SIGINT', 'SIGHUP'], (signal) => {
    count += 1
    if (count === 1) settle(signal)
    else process.exit(signalStatus(signal))
  })
  return { asked: promise, wasAsked: () => count > 0, release }
}
