import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach } from 'vitest'
import { type ChosenSource, chooseSource, createTokenSource } from '../../../src/cli/token/source.ts'
import { readEnvironment } from '../../../src/config/environment.ts'

export const audience = 'https://writ.example.com'

/** What a platform was asked. */
export interface Asked {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** Status and body; or no answer at all, or one that begins and never ends. */
type Scripted = [number, string] | 'silent' | 'endless'

/** A folder for one test file, removed at its end. */
export function scratch(): {
  readonly path: (name: string) => string
  file(name: string, text: string, mode?: number): string
} {
  const folder = mkdtempSync(join(tmpdir(), 'writ-token-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return {
    path: (name) => join(folder, name),
    file(name, text, mode = 0o600) {
      const path = join(folder, name)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
      chmodSync(path, mode)
      return path
    },
  }
}

/** Servers that answer as a platform does and remember what they were asked; each is closed after its test. */
export function platformServers(): (
  answer: (asked: Asked) => Scripted,
) => Promise<{ url: string; host: string; asked: Asked[] }> {
  const servers: ReturnType<typeof createServer>[] = []
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
  })
  return async (answer) => {
    const all: Asked[] = []
    const server = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () => {
        const url = new URL(request.url ?? '', 'http://server')
        const asked = { method: request.method ?? '', url, headers: request.headers, body }
        all.push(asked)
        const scripted = answer(asked)
        if (scripted === 'endless') response.writeHead(200).write('begun')
        if (typeof scripted === 'string') return
        const [status, text] = scripted
        response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end(text)
      })
    }).listen(0, '127.0.0.1')
    servers.push(server)
    await once(server, 'listening')
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
    return { url: `http://${host}`, host, asked: all }
  }
}

export interface Where {
  readonly file?: string
  readonly from?: string
  readonly kubernetes?: string
  readonly spiffe?: string
  readonly dmi?: string
}

const options = (env: Record<string, string>, { file, from, ...places }: Where) => ({
  file,
  from,
  environment: readEnvironment(env),
  audience,
  places: { kubernetes: '/nonexistent/k', spiffe: '/nonexistent/s', dmi: '/nonexistent/d', ...places },
})

export const source = (env: Record<string, string>, where: Where = {}) => createTokenSource(options(env, where))

/** Which source is chosen, and why. */
export async function chosen(
  env: Record<string, string>,
  where: Where = {},
): Promise<Omit<ChosenSource, 'token'> | undefined> {
  const found = await chooseSource(options(env, where))
  return found === undefined ? undefined : { name: found.name, because: found.because }
}

/** An unsigned JWT with these claims: what a client may look at before it presents a token. */
export const jwt = (claims: object): string =>
  [{ alg: 'RS256' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
    .concat('.c2ln')

/** How asking failed; fails itself when it did not. */
export async function failureOf(
  read: () => Promise<string>,
): Promise<{ message: string; fix: string; exitStatus: number }> {
  try {
    await read()
  } catch (error) {
    return error as { message: string; fix: string; exitStatus: number } & Error
  }
  throw new Error('there is a token')
}
