import { open } from 'node:fs/promises'
import { decodeUnverified } from '../../policy/claims.ts'
import { CommandError, exit } from '../command.ts'
import { printable } from '../terminal.ts'

/** The broker reads no longer token than this. */
export const maxTokenBytes = 16 * 1024

/** A failure of one source. The message never holds any of the token. */
export const noToken = (message: string, fix?: string, cause?: unknown): CommandError =>
  new CommandError(exit.unauthenticated, message, fix, { cause })

/** The token in a file, read anew. @throws CommandError */
export async function readTokenFile(path: string): Promise<string> {
  const source = `the token file ${printable(path)}`
  let text: string
  try {
    text = await readBounded(path, maxTokenBytes + 3)
  } catch (cause) {
    throw noToken(`${source}: ${isAbsent(cause) ? 'there is no such file' : 'it cannot be read'}`, undefined, cause)
  }
  return checked(text, source)
}

/** The first bytes of a file as text. A pipe or a device will do, so its size is no guide. */
export async function readBounded(path: string, maxBytes: number): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxBytes), 0, maxBytes)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

/** The text as a bearer token; `source` names where it came from. @throws CommandError */
export function checked(text: string, source: string): string {
  const token = text.trim()
  if (token === '') throw noToken(`${source} is empty`)
  if (token.length > maxTokenBytes) throw noToken(`${source} is larger than 16 KiB`)
  // RFC 6750: what may stand in a header. Anything else is not a token, and must not reach the HTTP library.
  if (!/^[\w.~+/-]+=*$/.test(token)) throw noToken(`${source} does not hold a bearer token`)
  return token
}

/**
 * A token whose audience somebody else chose goes to the broker only when it is meant for it: with one that is meant for a
 * cloud, whoever receives it could go there in this workload's name. @throws CommandError
 */
export function meantFor(token: string, audience: string, source: string, fix: string): string {
  const aud = decodeUnverified(token)?.aud
  if ((Array.isArray(aud) ? aud : [aud]).includes(audience)) return token
  throw noToken(`${source} is not for the audience ${printable(audience)}, so it is not sent there`, fix)
}

/** Whether nothing is there. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
