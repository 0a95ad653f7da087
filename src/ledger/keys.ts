import { randomBytes } from 'node:crypto'
import { link, open, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { BrokerFault } from '../base/errors.ts'
import { formatSkey, parseSkey, type SigningKey } from './log/note.ts'
import { isCode, makeFolder, nodeDisk, syncFolder } from './store/disk.ts'

const maxKeyFileBytes = 4096

/** A new Ed25519 key for a log: `skeyText` is a secret, `vkey` is for auditors. */
export function generateLedgerKey(origin: string): { readonly skeyText: string; readonly vkey: string } {
  const skeyText = formatSkey(origin, randomBytes(32))
  return { skeyText, vkey: parseSkey(skeyText).vkey }
}

/**
 * The signing key: `text` where the caller has it, else what is in `file`, made first when there is none and `create` allows it.
 * @throws BrokerFault `ledger_unavailable` when the file is readable by others, malformed, or of another origin.
 */
export async function openLedgerKey(options: {
  readonly text?: string | undefined
  readonly file: string
  readonly origin: string
  readonly create: boolean
}): Promise<SigningKey> {
  const { text, file, origin, create } = options
  const generate = create ? (): string => `${generateLedgerKey(origin).skeyText}\n` : undefined
  const where = text === undefined ? file : 'the environment'
  const key = readKey(where, text ?? (await readPrivateFile(file, generate)))
  if (key.name === origin) return key
  throw new BrokerFault('ledger_unavailable', `the key in ${where} is for ${key.name}, and the ledger is ${origin}`)
}

function readKey(where: string, text: string): SigningKey {
  try {
    return parseSkey(text)
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `${where} holds no ledger key`, { cause })
  }
}

/**
 * Text of a file that nobody but its owner may read. When there is none, `generate` makes its content, which is durable
 * before it is used: a key that signed something is never lost to a crash.
 * @throws BrokerFault `ledger_unavailable` when others may read it, it is absent and not to be made, or it cannot be read.
 */
export async function readPrivateFile(path: string, generate: (() => string) | undefined): Promise<string> {
  try {
    if (generate !== undefined) await createPrivateFile(path, generate)
    const file = await open(path, 'r')
    try {
      const { mode, size } = await file.stat()
      if ((mode & 0o077) !== 0) {
        const octal = (mode & 0o777).toString(8).padStart(4, '0')
        throw new BrokerFault(
          'ledger_unavailable',
          `${path} has mode ${octal}, so others can read the key: chmod 600 it`,
        )
      }
      if (size > maxKeyFileBytes) throw new BrokerFault('ledger_unavailable', `${path} is too large to be a key`)
      return await file.readFile('utf8')
    } finally {
      await file.close()
    }
  } catch (cause) {
    if (cause instanceof BrokerFault) throw cause
    const absent = isCode(cause, 'ENOENT')
    throw new BrokerFault(
      'ledger_unavailable',
      `the key file ${path} ${absent ? 'does not exist' : 'cannot be read'}`,
      {
        cause,
      },
    )
  }
}

/**
 * Makes a file of mode 0600, whole and durable or not at all, and never over one that exists; then it returns false.
 */
export async function createPrivateFile(path: string, content: () => string): Promise<boolean> {
  if (await exists(path)) return false
  await makeFolder(nodeDisk, dirname(path))
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(content())
    await file.sync()
    // Unlike a rename, a link never replaces the key that another process made in the meantime.
    await link(temporary, path)
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  } finally {
    await file.close()
    await unlink(temporary)
  }
  await syncFolder(nodeDisk, dirname(path))
  return true
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: unknown) => {
      if (isCode(error, 'ENOENT')) return false
      throw error
    },
  )
