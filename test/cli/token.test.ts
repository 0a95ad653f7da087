import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createTokenSource } from '../../src/cli/token.ts'
import { readEnvironment } from '../../src/config/environment.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-token-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const source = (env: Record<string, string>, more: { file?: string; files?: string[] } = {}) =>
  createTokenSource({
    file: more.file,
    environment: readEnvironment(env),
    audience: 'https://writ.example.com',
    files: more.files ?? [],
  })

describe('the workload token', () => {
  const named = file('named', 'from.option\n')
  const variableFile = file('variable', 'from.variable-file\r\n')
  const kubernetes = file('kubernetes', 'from.kubernetes')
  const spiffe = file('spiffe', 'from.spiffe\n')
  const all = { WRIT_TOKEN_FILE: variableFile, WRIT_TOKEN: 'from.variable' }

  it('comes from the first source that is set', async () => {
    const files = [kubernetes, spiffe]
    expect(await source(all, { file: named, files })()).toBe('from.option')
    expect(await source(all, { files })()).toBe('from.variable-file')
    expect(await source({ WRIT_TOKEN: ' from.variable\n' }, { files })()).toBe('from.variable')
    expect(await source({ WRIT_TOKEN: '' }, { files })()).toBe('from.kubernetes')
    expect(await source({}, { files: [join(folder, 'absent'), spiffe] })()).toBe('from.spiffe')
  })

  it('is read anew each time, because platforms rotate it', async () => {
    const path = file('rotating', 'one')
    const read = source({}, { file: path })
    expect(await read()).toBe('one')
    writeFileSync(path, 'two')
    expect(await read()).toBe('two')
  })

  it('never falls through to another identity when the named source is unusable', async () => {
    const absent = join(folder, 'absent')
    const error = { exitStatus: 4, message: `the token file ${absent}: there is no such file` }
    await expect(source(all, { file: absent, files: [kubernetes] })()).rejects.toMatchObject(error)
    await expect(source({ ...all, WRIT_TOKEN_FILE: absent })()).rejects.toMatchObject(error)
    await expect(source({}, { files: [file('empty', '\n'), spiffe] })()).rejects.toMatchObject({ exitStatus: 4 })
  })

  it.each([
    ['nothing', ''],
    ['two lines', 'one\ntwo'],
    ['a header of its own', 'x\r\nX-Evil: 1'],
    ['other characters', 'tök€n'],
    ['more than 16 KiB', 'a'.repeat(16 * 1024 + 1)],
  ])('is refused when the file holds %s, without repeating any of it', async (_, text) => {
    const read = source({}, { file: file('bad', text) })
    const error = await read().then(
      () => undefined,
      (thrown: unknown) => thrown as Error & { exitStatus: number },
    )
    expect(error?.exitStatus).toBe(4)
    if (text !== '') expect(error?.message).not.toContain(text.slice(0, 8))
  })

  it('may be as long as the broker reads', async () => {
    const text = 'a'.repeat(16 * 1024)
    expect(await source({}, { file: file('long', `${text}\r\n`) })()).toBe(text)
  })

  it('is explained when there is none', async () => {
    await expect(source({})()).rejects.toMatchObject({ exitStatus: 4, fix: expect.stringContaining('WRIT_TOKEN_FILE') })
  })
})

describe('GitHub Actions', () => {
  async function runner<T>(
    answer: (asked: { url: string; authorization: string | undefined }) => [number, string],
    use: (env: Record<string, string>) => Promise<T>,
  ): Promise<T> {
    const server = createServer((request, response) => {
      const [status, body] = answer({ url: request.url ?? '', authorization: request.headers.authorization })
      response.writeHead(status, { 'content-type': 'application/json' }).end(body)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    try {
      return await use({
        ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${port}/token?api-version=2`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'runner-secret',
      })
    } finally {
      server.closeAllConnections()
      server.close()
    }
  }

  it('is asked for a token of this audience, anew each time', async () => {
    let count = 0
    const tokens = await runner(
      ({ url, authorization }) => {
        expect(url).toBe('/token?api-version=2&audience=https%3A%2F%2Fwrit.example.com')
        expect(authorization).toBe('Bearer runner-secret')
        count += 1
        return [200, `{"value":"job.token.${count}"}`]
      },
      async (env) => {
        const read = source(env)
        return [await read(), await read()]
      },
    )
    expect(tokens).toEqual(['job.token.1', 'job.token.2'])
  })

  it.each([
    [403, '{}'],
    [200, '{"count":1}'],
    [200, 'not json'],
    [302, ''],
  ])('failing with %i %s exits 4 with what to grant', async (status, body) => {
    await runner(
      () => [status, body],
      async (env) => {
        const error = { exitStatus: 4, fix: expect.stringContaining('id-token: write') }
        await expect(source(env)()).rejects.toMatchObject(error)
      },
    )
  })
})
