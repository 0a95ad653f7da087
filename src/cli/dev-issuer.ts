import { readFile } from 'node:fs/promises'
import { messageOf } from '../base/errors.ts'
import { CommandError, exit, UsageError } from './command.ts'

/** Where the issuer of `writ dev` takes orders: the one given, the one in its ready file, or the usual one. @throws UsageError, CommandError */
export async function devIssuerUrl(
  given: string | undefined,
  readyFile: string | undefined,
  path: string,
): Promise<URL> {
  let text = given ?? 'http://127.0.0.1:8788'
  if (given === undefined && readyFile !== undefined) {
    try {
      const ready = JSON.parse(await readFile(readyFile, 'utf8')) as { issuer?: unknown }
      text = String(ready.issuer)
    } catch (cause) {
      throw new CommandError(exit.fault, `the ready file ${readyFile} cannot be read: ${messageOf(cause)}`)
    }
  }
  if (!URL.canParse(text)) throw new UsageError('--issuer is a URL such as http://127.0.0.1:8788')
  return new URL(path, text)
}

/** What the issuer of `writ dev` makes of an order. @throws CommandError */
export async function askDevIssuer(
  url: URL,
  order: object,
): Promise<{ readonly token?: unknown; readonly set?: unknown }> {
  let status: number
  let answer: { token?: unknown; set?: unknown; error?: unknown }
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(order),
      signal: AbortSignal.timeout(10_000),
    })
    status = response.status
    answer = (await response.json()) as typeof answer
  } catch (cause) {
    const fix = 'start writ dev, or name its issuer with --issuer'
    throw new CommandError(exit.unavailable, `no development issuer answers at ${url.origin}`, fix, { cause })
  }
  if (status === 200) return answer
  const reason = typeof answer.error === 'string' ? answer.error : `status ${status}`
  throw new CommandError(status === 400 ? exit.usage : exit.fault, reason)
}
