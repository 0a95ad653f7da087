import { type FileHandle, open } from 'node:fs/promises'
import { KeyFetchError, maxDocumentBytes } from './fetch-text.ts'

/**
 * The text of a regular file; `what` names it in errors. Reads at most `maxDocumentBytes`, whatever the file grows to meanwhile;
 * a device or pipe is refused. @throws KeyFetchError
 */
export async function readBounded(path: string, what: string): Promise<string> {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    if (!(await file.stat()).isFile()) throw new KeyFetchError(`${what} is not a regular file`)
    const buffer = Buffer.alloc(maxDocumentBytes + 1)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
    if (bytesRead > maxDocumentBytes) throw new KeyFetchError(`${what} is larger than ${maxDocumentBytes} bytes`)
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(buffer.subarray(0, bytesRead))
  } catch (error) {
    if (error instanceof KeyFetchError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code'
    throw new KeyFetchError(`${what} cannot be read (${code})`)
  } finally {
    await file?.close()
  }
}
