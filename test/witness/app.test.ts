import { request } from 'node:http'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { openCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { parseVkey } from '../../src/ledger/log/note.ts'
import { monitorPath } from '../../src/ledger/log/witness-protocol.ts'
import { createWitnessApp } from '../../src/witness/app.ts'
import type { RunningWitness } from '../../src/witness/start.ts'
import { faultyDisk } from '../support/faulty-disk.ts'
import { origin, testKey, withFolder } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { bodyOf, logsOf, startTestWitness, withWitness } from '../support/witness.ts'

const log = memoryLog()
log.append('a', 'b', 'c', 'd', 'e')
const first = bodyOf({ from: 0, proof: [], note: log.sign(testKey, 2) })

const withServer = (
  use: (witness: RunningWitness) => Promise<void>,
  over: Parameters<typeof startTestWitness>[2] = {},
): Promise<void> =>
  withFolder(async (dir) => {
    const witness = await startTestWitness(dir, [testKey.vkey], over)
    try {
      await use(witness)
    } finally {
      await witness.close()
    }
  })

async function post(
  { url }: RunningWitness,
  body: Uint8Array,
): Promise<{ status: number; type: string | null; text: string }> {
  const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: Buffer.from(body) })
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() }
}

describe('over HTTP, a witness', () => {
  it('answers each case with the status, type and body of the protocol', () =>
    withServer(async (witness) => {
      const plain = 'text/plain; charset=utf-8'
      const note = log.sign(testKey, 5)
      const proof = await log.prove(2, 5)
      const cosigned = await post(witness, first)
      expect(cosigned).toMatchObject({
        status: 200,
        type: plain,
        text: expect.stringMatching(/^— witness\.test \S+\n$/),
      })
      expect(await post(witness, first)).toEqual({ status: 409, type: 'text/x.tlog.size', text: '2\n' })
      expect(await post(witness, bodyOf({ from: 2, proof: [], note }))).toMatchObject({ status: 422, type: plain })
      expect(await post(witness, bodyOf({ from: 6, proof, note }))).toMatchObject({ status: 400, type: plain })
      expect(await post(witness, bodyOf({ from: 2, proof, note: note.replace(origin, 'other.test') }))).toMatchObject({
        status: 404,
      })
      expect(await post(witness, bodyOf({ from: 2, proof, note: note.replace('\n5\n', '\n4\n') }))).toMatchObject({
        status: 403,
      })
      expect(await post(witness, bodyOf({ from: 2, proof, note }))).toMatchObject({ status: 200 })
      expect(await post(witness, Buffer.from('hello'))).toMatchObject({ status: 400 })
      expect(await post(witness, Buffer.alloc(200_000, 'x'))).toMatchObject({ status: 413 })
    }))

  it('shows monitors the newest head with both signatures, and 404 before there is one', () =>
    withServer(async (witness) => {
      const monitor = `${witness.url}/${monitorPath(origin)}`
      expect((await fetch(monitor)).status).toBe(404)
      await post(witness, first)
      const answer = await fetch(monitor)
      expect(answer.headers.get('content-type')?.toLowerCase()).toBe('text/plain; charset=utf-8')
      const note = await answer.text()
      expect(openCheckpoint(note, parseVkey(testKey.vkey)).size).toBe(2)
      expect(cosignaturesOf(note, [parseWitnessVkey(witness.vkey)])).toHaveLength(1)
      expect((await fetch(monitor, { method: 'HEAD' })).status).toBe(200)
      expect((await fetch(`${witness.url}/${monitorPath('other.test')}`)).status).toBe(404)
    }))

  it.each([
    ['GET', '/add-checkpoint', 404],
    ['POST', '/', 404],
    ['GET', '/../witness.key', 404],
    ['GET', '/%2e%2e/lock', 404],
    ['GET', '/healthz', 200],
  ])('answers %s %s with %d', (method, path, status) =>
    withServer(async ({ url }) => {
      const { hostname, port } = new URL(url)
      const answered = await new Promise<number | undefined>((resolve, reject) => {
        // Not by fetch, which would tidy the path up.
        request({ hostname, port, method, path }, (response) => {
          response.resume()
          resolve(response.statusCode)
        })
          .on('error', reject)
          .end()
      })
      expect(answered).toBe(status)
    }),
  )

  it('answers 500 and cosigns nothing when its disk fails, and says that it must not go on', () => {
    let broken = false
    return withServer(
      async (witness) => {
        broken = true
        const answer = await post(witness, first)
        expect(answer).toMatchObject({ status: 500, text: expect.not.stringContaining('—') })
        expect(await witness.failed).toMatchObject({ code: 'ledger_unavailable' })
        broken = false
        expect(await post(witness, first)).toMatchObject({ status: 500 })
      },
      { fs: faultyDisk(({ verb }) => (broken && verb === 'sync' ? 'fail' : 'do')) },
    )
  })
})

describe('the application of a witness', () => {
  it('works on 512 requests at once and answers 503 to one more', () =>
    withWitness([testKey.vkey], async ({ deps }) => {
      const app = createWitnessApp({ ...deps, logs: logsOf(testKey.vkey), log: silentLog })
      const controllers: ReadableStreamDefaultController<Uint8Array>[] = []
      const hold = () =>
        app.request('/add-checkpoint', {
          method: 'POST',
          body: new ReadableStream<Uint8Array>({ start: (controller) => void controllers.push(controller) }),
          duplex: 'half',
        } as RequestInit)
      const held = Array.from({ length: 512 }, hold)
      const refused = await app.request('/add-checkpoint', { method: 'POST', body: 'x' })
      expect(refused.status).toBe(503)
      expect(refused.headers.get('retry-after')).toBe('1')
      controllers[0]?.error(new Error('the peer is gone'))
      expect((await held[0])?.status).toBe(400)
      expect((await app.request('/add-checkpoint', { method: 'POST', body: 'x' })).status).toBe(400)
      for (const controller of controllers.slice(1)) controller.close()
      expect(new Set((await Promise.all(held.slice(1))).map(({ status }) => status))).toEqual(new Set([400]))
    }))
})
