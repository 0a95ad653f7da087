import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import type { CredentialRequest } from '../contract/credential.ts'
import type { Descriptors } from './child.ts'
import { CommandError, exit, type Io, UsageError } from './command.ts'
import { type Format, type FormatValues, formatOptions, rendering } from './formats/format.ts'
import { formatNamed, refuseUnfit, refuseUnused } from './formats/table.ts'
import { type IssuedAnswer, splitPair } from './obtain.ts'
import { isVariable } from './secret-fields.ts'
import { printable } from './terminal.ts'

/** Options that hand a secret to a command other than in its environment. */
export const handoverOptions = {
  fd: { type: 'string', multiple: true },
  file: { type: 'string', multiple: true },
  ...formatOptions,
} as const

interface HandoverValues extends FormatValues {
  readonly fd?: string[] | undefined
  readonly file?: string[] | undefined
}

interface Part {
  /** A descriptor by its number, or a file by the variable that names it. */
  readonly to: number | string
  readonly format: Format
  readonly render: ReturnType<typeof rendering>
}

/** What was put where the command finds it. */
export interface Handover {
  readonly descriptors: Descriptors
  /** The paths of files. */
  readonly variables: Readonly<Record<string, string>>
  /** Overwrites and removes the files. Never throws. */
  remove(): void
}

/**
 * Reads `--fd` and `--file`, and finds a folder in memory for them. The result puts a credential there; `undefined` when neither was
 * given. @throws UsageError, and CommandError where no folder is in memory: a secret does not go to a disk
 */
export function parseHandover(
  values: HandoverValues,
  request: CredentialRequest,
  io: Io,
): ((issued: IssuedAnswer) => Handover) | undefined {
  const named = [...(values.fd ?? []).map(descriptorOf), ...(values.file ?? []).map(fileOf)]
  const twice = named.find(({ to }, at) => named.findIndex((other) => other.to === to) !== at)
  if (twice !== undefined) throw new UsageError(`${twice.option} ${twice.to} is given twice`)
  refuseUnused(
    values,
    named.map(({ format }) => format),
  )
  const parts = named.map(({ option, to, format }): Part => {
    refuseUnfit(request, option, format)
    return { to, format, render: rendering(format, { values, mapping: [], terminal: false }) }
  })
  if (parts.length === 0) return undefined
  const memory = folderInMemory(io)
  return (issued) => place(issued, parts, memory, io)
}

interface Named {
  readonly option: string
  readonly to: number | string
  readonly format: Format
}

function descriptorOf(text: string): Named {
  const [number, ...rest] = text.split('=')
  // A shell can name these, and no more.
  if (number === undefined || !/^[3-9]$/.test(number)) throw new UsageError('--fd takes N=FORMAT, where N is 3 to 9')
  return {
    option: '--fd',
    to: Number(number),
    format: formatNamed('--fd', rest.length === 0 ? 'json' : rest.join('=')),
  }
}

function fileOf(text: string): Named {
  const [name, format] = splitPair('--file', text)
  if (!isVariable(name)) throw new UsageError('--file takes NAME=FORMAT, where NAME is a variable')
  return { option: '--file', to: name, format: formatNamed('--file', format) }
}

// linux/magic.h: TMPFS_MAGIC and RAMFS_MAGIC.
const kindsInMemory: ReadonlySet<number> = new Set([0x01021994, 0x858458f6])

function folderInMemory(io: Io): string {
  const found = [io.environment.runtimeDir, '/dev/shm'].find((folder) => {
    try {
      if (folder === undefined) return false
      accessSync(folder, constants.W_OK | constants.X_OK)
      return kindsInMemory.has(statfsSync(folder).type)
    } catch {
      return false
    }
  })
  if (found !== undefined) return found
  throw new CommandError(
    exit.fault,
    'neither XDG_RUNTIME_DIR nor /dev/shm is a folder in memory (tmpfs) that can be written, and a secret does not go to a disk',
    'mount one, or hand the secret over with --env',
  )
}

function place(issued: IssuedAnswer, parts: readonly Part[], memory: string, io: Io): Handover {
  const folder = mkdtempSync(join(memory, 'writ-'))
  const descriptors = new Map<number, number>()
  const files: string[] = []
  const variables: Record<string, string> = {}
  const remove = (): void => {
    for (const fd of descriptors.values()) closeSync(fd)
    for (const file of files) overwrite(file)
    try {
      rmSync(folder, { recursive: true, force: true })
    } catch (error) {
      io.stderr(`writ: ${printable(folder)} could not be removed: ${printable(messageOf(error))}\n`)
    }
  }
  try {
    for (const { to, format, render } of parts) {
      const place = join(folder, String(to))
      const file = format.folderWith === undefined ? place : join(place, format.folderWith)
      if (typeof to === 'string' && file !== place) mkdirSync(place, { mode: 0o700 })
      if (typeof to === 'number') {
        descriptors.set(to, unnamed(place, render(issued)))
      } else {
        files.push(file)
        writeFileSync(file, render(issued), { mode: 0o600, flag: 'wx' })
        variables[to] = place
      }
    }
  } catch (error) {
    remove()
    throw error
  }
  return { descriptors, variables, remove }
}

/**
 * An open file without a name: it is gone with the last process that has it open, even after SIGKILL. Unlike a pipe it holds any amount,
 * can be opened as /dev/fd/N, and counts as a plain file with mode 0600, which libpq insists on.
 */
function unnamed(path: string, text: string): number {
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' })
  try {
    return openSync(path, 'r')
  } finally {
    unlinkSync(path)
  }
}

// The command may have put something else there: a link is not followed.
function overwrite(file: string): void {
  try {
    const fd = openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      writeSync(fd, Buffer.alloc(fstatSync(fd).size), 0, undefined, 0)
    } finally {
      closeSync(fd)
    }
  } catch {
    // It is removed all the same.
  }
}
