// @peculiar/x509 needs the polyfill to be there first.
import 'reflect-metadata'
import { mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import { type RunningServer, startServer } from '../../src/http/server.ts'
import type { TlsFiles } from '../../src/http/tls.ts'
import { fakeClock } from '../support/clock.ts'
import { docsUrlBase, eventually, head, memoryLog, testApp } from './harness.ts'

interface Pair {
  readonly cert: string
  readonly key: string
}

// A self-signed certificate for localhost with this serial number.
async function makePair(serialNumber: string): Promise<Pair> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber,
    name: 'CN=localhost',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }])],
  })
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
  return {
    cert: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  }
}

async function folder(): Promise<TlsFiles & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-tls-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return { dir, certFile: join(dir, 'tls.crt'), keyFile: join(dir, 'tls.key') }
}

async function put(files: TlsFiles, pair: Pair): Promise<void> {
  await writeFile(files.certFile, pair.cert)
  await writeFile(files.keyFile, pair.key)
}

async function serving(
  files: TlsFiles,
  clock: Clock = systemClock,
): Promise<{ server: RunningServer; log: ReturnType<typeof memoryLog> }> {
  const log = memoryLog()
  const server = await startServer({
    app: testApp({}).app,
    host: '127.0.0.1',
    port: 0,
    tls: files,
    clock,
    log,
    docsUrlBase,
  })
  onTestFinished(async () => {
    await server.close(0)
  })
  return { server, log }
}

async function dial(port: number, options: object = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false, ...options })
  onTestFinished(() => {
    socket.destroy()
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
  })
  return socket
}

const serial = async (port: number): Promise<string> => (await dial(port)).getPeerCertificate().serialNumber

describe('TLS', () => {
  test('serves a request over TLS 1.3 and 1.2 and not over 1.1', async () => {
    const files = await folder()
    const pair = await makePair('01')
    await put(files, pair)
    const { server } = await serving(files)
    expect(server.url).toBe(`https://127.0.0.1:${server.port}`)
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
      const socket = await dial(server.port, { maxVersion: version, ca: pair.cert, rejectUnauthorized: true })
      expect(socket.getProtocol()).toBe(version)
      socket.write(head('GET', '/healthz', { Connection: 'close' }))
      const received = Buffer.concat(await socket.toArray()).toString()
      expect(received).toMatch(/^HTTP\/1\.1 200 .*strict-transport-security: max-age/is)
    }
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }
    await expect(dial(server.port, old)).rejects.toThrow(/protocol version|alert/i)
  })

  test('a plain request to the TLS port gets no answer and harms nobody', async () => {
    const files = await folder()
    await put(files, await makePair('01'))
    const { server } = await serving(files)
    await expect(fetch(`http://127.0.0.1:${server.port}/healthz`)).rejects.toThrow()
    expect(await serial(server.port)).toBe('01')
  })

  test('a renewed certificate serves new connections on reload, and the open ones go on', async () => {
    const files = await folder()
    await put(files, await makePair('01'))
    const { server } = await serving(files)
    const open = await dial(server.port)
    await put(files, await makePair('02'))
    expect(await serial(server.port)).toBe('01')
    await server.reload()
    expect(await serial(server.port)).toBe('02')
    open.write(head('GET', '/healthz', { Connection: 'close' }))
    expect(Buffer.concat(await open.toArray()).toString()).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('a changed file is noticed without being asked, also behind symbolic links as Kubernetes mounts them', async () => {
    const files = await folder()
    for (const [name, number] of [
      ['a', '01'],
      ['b', '02'],
    ] as const) {
      const pair = await makePair(number)
      await writeFile(join(files.dir, `${name}.crt`), pair.cert)
      await writeFile(join(files.dir, `${name}.key`), pair.key)
    }
    const point = async (name: string): Promise<void> => {
      for (const [file, end] of [
        [files.certFile, 'crt'],
        [files.keyFile, 'key'],
      ] as const) {
        await symlink(join(files.dir, `${name}.${end}`), `${file}.new`)
        await rename(`${file}.new`, file)
      }
    }
    await point('a')
    const clock = fakeClock()
    const { server, log } = await serving(files, clock)
    await point('b')
    await clock.advance(5_000)
    await eventually(() => log.lines.map((line) => line.event)).toContain('tls.reloaded')
    expect(await serial(server.port)).toBe('02')
  })

  test('a pair that does not belong together is reported once, and the one in use stays until it is mended', async () => {
    const files = await folder()
    await put(files, await makePair('01'))
    const clock = fakeClock()
    const { server, log } = await serving(files, clock)
    const next = await makePair('02')
    await writeFile(files.certFile, next.cert)
    const events = async (): Promise<string[]> => {
      await clock.advance(5_000)
      return log.lines.map((line) => line.event)
    }
    await eventually(events).toEqual(['tls.refused'])
    for (let i = 0; i < 3; i++) await clock.advance(5_000)
    expect(await serial(server.port)).toBe('01')
    await expect(server.reload()).rejects.toThrow(/does not belong to the certificate/)
    await writeFile(files.keyFile, next.key)
    await eventually(events).toEqual(['tls.refused', 'tls.reloaded'])
    expect(await serial(server.port)).toBe('02')
    expect(JSON.stringify(log.lines)).not.toContain('BEGIN')
  })

  test.each([
    ['no certificate', async (files: TlsFiles) => rm(files.certFile), /cannot read the TLS certificate .*tls\.crt/],
    ['no key', async (files: TlsFiles) => rm(files.keyFile), /cannot read the TLS key .*tls\.key/],
    [
      'text for a certificate',
      async (files: TlsFiles) => writeFile(files.certFile, 'hello'),
      /tls\.crt holds no TLS certificate in PEM form/,
    ],
    [
      'a certificate for a key',
      async (files: TlsFiles) => writeFile(files.keyFile, await readFile(files.certFile)),
      /tls\.key holds no TLS key in PEM form/,
    ],
    [
      'the key of another',
      async (files: TlsFiles) => writeFile(files.keyFile, (await makePair('09')).key),
      /does not belong to the certificate/,
    ],
  ])('%s stops the start with a sentence that names the file', async (_, spoil, message) => {
    const files = await folder()
    await put(files, await makePair('01'))
    await spoil(files)
    await expect(serving(files)).rejects.toThrow(message)
  })
})
