import { X509Certificate } from 'node:crypto'
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '../../config/config.ts'
import { bad, doubtful, type Finding, good } from './finding.ts'

const lowDiskBytes = 1024 ** 3
const soonMs = 14 * 86_400_000

/** Folders and files on this machine: the ledger and its keys, the files of the Vault login, the certificate. */
export function checkFiles(config: Config, nowMs: number): Finding[] {
  return [
    ...ledgerFolder(config.ledger.dir),
    ...ledgerKeys(config.ledger),
    ...loginFiles(config),
    ...(config.vault.caFile === undefined ? [] : [readable('vault authorities', config.vault.caFile)]),
    ...(config.listen.tls === undefined ? [] : certificate(config.listen.tls, nowMs)),
  ]
}

function ledgerFolder(dir: string): Finding[] {
  const check = 'ledger folder'
  const nearest = nearestExisting(dir)
  if (!statSync(nearest).isDirectory()) return [bad(check, `${nearest} is not a folder`, 'correct ledger.dir')]
  if (!allows(nearest, constants.W_OK | constants.X_OK)) {
    return [
      bad(check, `this user may not write to ${nearest}`, `chown it to the user of the broker, or move ledger.dir`),
    ]
  }
  const { bavail, bsize } = statfsSync(nearest)
  const free = bavail * bsize
  const mebibytes = Math.floor(free / 1024 ** 2)
  return [
    good(check, nearest === dir ? `${dir} can be written` : `${dir} can be made`),
    free < lowDiskBytes
      ? doubtful('ledger disk', `${mebibytes} MiB are free`, 'a full disk stops the broker: make room')
      : good('ledger disk', `${mebibytes} MiB are free`),
  ]
}

function nearestExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestExisting(dirname(path))
}

function ledgerKeys({ key, keyFile: file, sealKey, previousKeyFile }: Config['ledger']): Finding[] {
  return [
    key === undefined ? keyFile('ledger key', file) : good('ledger key', 'it comes from WRIT_LEDGER_KEY'),
    sealKey === undefined
      ? keyFile('seal key', join(dirname(file), 'seal.key'))
      : good('seal key', 'it comes from WRIT_SEAL_KEY'),
    ...(previousKeyFile === undefined ? [] : [keyFile('previous ledger key', previousKeyFile)]),
  ]
}

/** A key that only its owner may read; one that is absent is made at the first start. */
function keyFile(check: string, path: string): Finding {
  if (!existsSync(path)) {
    const folder = nearestExisting(dirname(path))
    return allows(folder, constants.W_OK)
      ? good(check, `${path} will be made at the first start; keep a copy of it`)
      : bad(
          check,
          `${path} does not exist and this user may not make it`,
          `put the key there or let the user write to ${folder}`,
        )
  }
  const mode = statSync(path).mode & 0o777
  if ((mode & 0o077) !== 0)
    return bad(check, `${path} has mode ${octal(mode)}: others can read it`, `chmod 600 ${path}`)
  return allows(path, constants.R_OK)
    ? good(check, `${path} has mode ${octal(mode)}`)
    : bad(check, `this user may not read ${path}`, 'chown it to the user of the broker')
}

function loginFiles({ vault: { auth } }: Config): Finding[] {
  if (auth.method === 'approle') {
    return [readable('vault role id', auth.roleIdFile), secretFile('vault secret id', auth.secretIdFile)]
  }
  // The platform decides who in the pod can read it.
  if (auth.method === 'kubernetes') return [readable('service account token', auth.tokenFile)]
  return 'tokenFile' in auth ? [secretFile('vault token', auth.tokenFile)] : []
}

function secretFile(check: string, path: string): Finding {
  const found = readable(check, path)
  if (found.verdict !== 'ok') return found
  const mode = statSync(path).mode & 0o777
  return (mode & 0o007) === 0
    ? found
    : doubtful(check, `${path} has mode ${octal(mode)}: everybody on this machine can read it`, `chmod 600 ${path}`)
}

function readable(check: string, path: string): Finding {
  if (!existsSync(path)) return bad(check, `${path} does not exist`, 'correct the path, or put the file there')
  if (!allows(path, constants.R_OK))
    return bad(check, `this user may not read ${path}`, 'chown it to the user of the broker')
  return statSync(path).size === 0
    ? bad(check, `${path} is empty`, 'write the value into it')
    : good(check, `${path} can be read`)
}

function certificate(tls: { cert: string; key: string }, nowMs: number): Finding[] {
  const check = 'certificate'
  const found = readable(check, tls.cert)
  if (found.verdict !== 'ok') return [found, secretFile('certificate key', tls.key)]
  try {
    const { validTo } = new X509Certificate(readFileSync(tls.cert))
    const leftMs = Date.parse(validTo) - nowMs
    const fix = 'renew it and send the broker SIGHUP'
    if (leftMs <= 0) return [bad(check, `${tls.cert} ended at ${validTo}`, fix), secretFile('certificate key', tls.key)]
    const ends = `${tls.cert} is valid until ${validTo}`
    return [leftMs < soonMs ? doubtful(check, ends, fix) : good(check, ends), secretFile('certificate key', tls.key)]
  } catch {
    return [bad(check, `${tls.cert} holds no certificate`, 'listen.tls.cert takes a PEM file with the chain')]
  }
}

function allows(path: string, mode: number): boolean {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}

const octal = (mode: number): string => mode.toString(8).padStart(4, '0')
