import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { onPath, runProgram } from '../../support/program.ts'
import { getAs } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-docker-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('docker', () => {
  it('needs a registry, and says so before it asks for anything', async () => {
    const got = await getAs({ username: 'u', password: 'p' }, ['--format', 'docker'])
    expect(got).toMatchObject({ status: 2, asked: 0 })
    expect(got.err).toContain('--registry')
  })

  it.each([
    ['username', 'a:b'],
    ['username', 'a\nb'],
    ['password', 'a\rb'],
    ['password', '\0'],
    ['password', ''],
  ])('hands back a %s that it cannot write: %j', async (field, value) => {
    const secret = { username: 'u', password: 'p', [field]: value }
    const got = await getAs(secret, ['--format', 'docker', '--registry', 'r'])
    expect(got).toMatchObject({ status: 1, out: '', handedBack: 1 })
    expect(got.err).toContain(`"${field}"`)
  })
})

describe.skipIf(!onPath('docker'))('needs docker on PATH: config.json', () => {
  it('logs docker in to that registry, and to no other', async () => {
    const [username, password] = ['v-pull-1', 'pä:ss "\\ w=ord']
    // A double of a registry: it has one image for whoever shows this log-in.
    const wanted = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
    const seen: (string | undefined)[] = []
    const type = 'application/vnd.docker.distribution.manifest.v2+json'
    const image = '{"architecture":"amd64","os":"linux"}'
    const digest = `sha256:${createHash('sha256').update(image).digest('hex')}`
    const config = { size: image.length, digest, mediaType: 'application/vnd.docker.container.image.v1+json' }
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType: type, config, layers: [] })
    const server = createServer((request, response) => {
      const { authorization } = request.headers
      seen.push(authorization)
      if (authorization === wanted)
        return void response.setHeader('content-type', type).end(request.url?.includes('/blobs/') ? image : manifest)
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end('{}')
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const registry = `127.0.0.1:${(server.address() as AddressInfo).port}`
    const inspect = () =>
      runProgram('docker', ['manifest', 'inspect', '--insecure', `${registry}/app:1`], {
        env: { HOME: folder, DOCKER_CONFIG: folder },
      })
    const out = ['--out', join(folder, 'config.json')]
    const get = (...args: string[]) => getAs({ username, password }, ['--format', 'docker', ...args, ...out])

    expect(await get('--registry', 'elsewhere.example.com')).toMatchObject({ status: 0, out: '' })
    expect((await inspect()).code).not.toBe(0)
    expect(seen).not.toContain(wanted)
    expect(await get('--registry', registry)).toMatchObject({ status: 0 })
    const ran = await inspect()
    server.close()
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining(digest) })
    expect(seen).toContain(wanted)
  })
})
