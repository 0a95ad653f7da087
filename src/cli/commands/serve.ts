import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { compose, type Running } from '../../compose.ts'
import type { Config } from '../../config/config.ts'
import { type EntryLogs, startEntryLogsIfAsked } from '../../http/entry-logs.ts'
import { createLog } from '../../http/log.ts'
import { startTelemetry, telemetryOptions } from '../../http/telemetry.ts'
import { version } from '../../version.ts'
import { signalStatus } from '../child.ts'
import { type Command, CommandError, exit, type Io, writeJson } from '../command.ts'
import { requireConfig } from '../load-config.ts'
import { parseOptions } from '../options.ts'

const usage = `
usage: writ serve [--config writ.yaml]

Runs the broker. Prints {"event":"listening","url":…} on stdout once it is ready; the log goes to stderr, one JSON object a
line. docs/config.md lists every key and the WRIT_… variable that overrides it.

  --config FILE       the configuration (default: WRIT_CONFIG, then ./writ.yaml when there is one)

Signals: SIGTERM and SIGINT finish what is under way and exit 0 within 10 s, and grants stay as they are; a second one ends
at once. SIGHUP reads policies and certificates again.
Exit status 2 when the configuration is wrong, 1 when the broker cannot start or its ledger cannot be written any more.
`

/** `writ serve`: the broker. */
export const serveCommand: Command = { name: 'serve', summary: 'run the broker in production', usage, run }

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, { config: { type: 'string' } })
  const config = requireConfig(values.config, io)
  const log = createLog({ level: config.log.level })
  const stop = stopSignal(io)
  const { otel } = io.environment
  const telemetry = await startTelemetry(telemetryOptions(otel, version))
  const entryLogs = await startEntryLogsIfAsked(otel, { version, origin: config.ledger.origin })
  try {
    const running = await start(config, log, entryLogs)
    try {
      return await serve(running, stop.asked, log, io)
    } finally {
      await running.close()
      await Promise.all([telemetry.stop(), entryLogs?.stop()])
      log.info({}, 'stopped')
    }
  } finally {
    stop.release()
    log.flush()
    // Nothing is left to do: a handle that somebody forgot must not keep the process from ending in time.
    setTimeout(() => process.exit(), 250).unref()
  }
}

async function start(config: Config, log: Log, entryLogs: EntryLogs | undefined): Promise<Running> {
  try {
    return await compose(config, { log, entryLogs })
  } catch (cause) {
    throw new CommandError(exit.fault, `the broker cannot start: ${messageOf(cause)}`, 'writ doctor checks each part', {
      cause,
    })
  }
}

async function serve(running: Running, stopAsked: Promise<NodeJS.Signals>, log: Log, io: Io): Promise<number> {
  const stopReloading = io.onSignal(['SIGHUP'], () => {
    running.reload().then(
      () => log.info({}, 'reloaded'),
      (error: unknown) => log.error({ error }, 'reload_failed'),
    )
  })
  writeJson(io, { event: 'listening', url: running.url })
  log.info({ url: running.url, version }, 'listening')
  const ended = await Promise.race([stopAsked, running.failed])
  stopReloading()
  if (typeof ended === 'string') {
    log.info({ signal: ended }, 'draining')
    return exit.done
  }
  throw new CommandError(
    exit.fault,
    `the ledger can no longer be written: ${messageOf(ended)}`,
    'look at the disk of the ledger; the broker recovers what is durable when it starts again',
  )
}

/** Resolves at the first signal to stop, also while the broker is starting; the second ends the process. */
function stopSignal(io: Io): { readonly asked: Promise<NodeJS.Signals>; release(): void } {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>()
  let count = 0
  const release = io.onSignal(['SIGTERM', 'SIGINT'], (signal) => {
    count += 1
    if (count === 1) resolve(signal)
    else process.exit(signalStatus(signal))
  })
  return { asked: promise, release }
}
