import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import type { Server } from 'node:https'
import type { Clock } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { describeThrown } from './log.ts'

/** Paths of PEM files: the certificate with its chain, and its key. */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
}

/** A certificate and key that were read and belong together. */
export interface TlsPair {
  readonly cert: Buffer
  readonly key: Buffer
  readonly expiresAtMs: number
}

const watchEveryMs = 5_000

/**
 * Reads a certificate and its key. The message names the file that is wrong and never what is in it.
 * @throws BrokerFault `internal`
 */
export async function readTlsPair(files: TlsFiles): Promise<TlsPair> {
  const [cert, key] = await Promise.all([read('certificate', files.certFile), read('key', files.keyFile)])
  const certificate = parsed('certificate', files.certFile, () => new X509Certificate(cert))
  const privateKey = parsed('key', files.keyFile, () => createPrivateKey(key))
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new BrokerFault(
      'internal',
      `the key in ${files.keyFile} does not belong to the certificate in ${files.certFile}`,
    )
  }
  return { cert, key, expiresAtMs: certificate.validToDate.getTime() }
}

async function read(what: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw new BrokerFault('internal', `cannot read the TLS ${what} ${file}`, { cause })
  }
}

function parsed<T>(what: string, file: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw new BrokerFault('internal', `${file} holds no TLS ${what} in PEM form`, { cause })
  }
}

/** Keeps the certificate of a server fresh. */
export interface TlsReloader {
  /** Reads the files and uses them for new connections. @throws BrokerFault `internal`, with the old pair still in use */
  reload(): Promise<void>
  stop(): void
}

/**
 * Looks at the files every five seconds and on `reload`. Renewed certificates apply to new connections; a pair that is
 * broken or half replaced is reported and the one in use stays. Polling, because a mounted secret is a chain of
 * symbolic links whose end changes without an event on the path.
 */
export async function keepTlsFresh(server: Server, files: TlsFiles, clock: Clock, log: Log): Promise<TlsReloader> {
  let seen = await fingerprint(files)
  let stopped = false
  const reload = async (): Promise<void> => {
    const pair = await readTlsPair(files)
    server.setSecureContext({ cert: pair.cert, key: pair.key, minVersion: 'TLSv1.2' })
    log.info({ expires_at: new Date(pair.expiresAtMs).toISOString() }, 'tls.reloaded')
  }
  const look = async (): Promise<void> => {
    const now = await fingerprint(files)
    if (now !== seen) {
      try {
        await reload()
      } catch (thrown) {
        log.warn(describeThrown(thrown), 'tls.refused')
      }
      // Remembered also when refused: the same broken pair is reported once, a changed one is tried again.
      seen = now
    }
    if (!stopped) timer = clock.after(watchEveryMs, run)
  }
  // `look` catches everything that can fail; nothing waits for it.
  const run = (): void => void look()
  let timer = clock.after(watchEveryMs, run)
  return {
    reload,
    stop() {
      stopped = true
      timer.cancel()
    },
  }
}

async function fingerprint(files: TlsFiles): Promise<string> {
  const one = async (file: string): Promise<string> => {
    try {
      const { ino, size, mtimeMs, ctimeMs } = await stat(file)
      return [ino, size, mtimeMs, ctimeMs].join('/')
    } catch {
      return 'absent'
    }
  }
  return (await Promise.all([one(files.certFile), one(files.keyFile)])).join(' ')
}
