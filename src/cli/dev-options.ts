import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../base/errors.ts'
import { SetupRefused } from '../dev/mount.ts'
import { PostgresUnavailable } from '../dev/postgres.ts'
import { type StackOptions, StackRefused } from '../dev/stack.ts'
import { VaultChildUnavailable } from '../dev/vault-child.ts'
import { CommandError, exit, type Io, UsageError } from './command.ts'

/** A development stack hands out tokens and root keys to whoever asks. @throws CommandError where `NODE_ENV` is production */
export function refuseProduction(command: string, io: Io): void {
  if (io.environment.nodeEnv !== 'production') return
  const fix = 'use writ serve, or unset NODE_ENV'
  throw new CommandError(exit.usage, `${command} trusts everyone on this machine and does not run in production`, fix)
}

/** The policies a development command uses: those named, those here, or the examples that come with writ. */
export function policiesFolder(given: string | undefined): string {
  if (given !== undefined) return resolve(given)
  const here = resolve('policies')
  return existsSync(here) ? here : fileURLToPath(new URL('../../policies', import.meta.url))
}

/** `--vault embedded|bao|URL`. @throws UsageError */
export function vaultChoice(given: string | undefined, io: Io): StackOptions['vault'] {
  if (given === undefined || given === 'embedded') return 'embedded'
  if (given === 'bao') return 'bao'
  if (!URL.canParse(given) || !/^https?:$/.test(new URL(given).protocol)) {
    throw new UsageError('--vault is embedded, bao, or the URL of a running Vault')
  }
  return { url: given, token: io.environment.vault.token?.reveal() }
}

/** Throws faults of the stack again, in words that say what to do. */
export function explainStart(error: unknown): never {
  const known = [StackRefused, SetupRefused, PostgresUnavailable, VaultChildUnavailable].some(
    (kind) => error instanceof kind,
  )
  throw known ? new CommandError(exit.fault, messageOf(error), undefined, { cause: error }) : error
}
