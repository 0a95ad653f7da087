import { Hono } from 'hono'
import { maxRequestBytes, monitorPath, sizeType } from '../ledger/log/witness-protocol.ts'
import { type AddCheckpointDeps, type Answer, addCheckpoint } from './add-checkpoint.ts'

/** Requests read and worked on at once; more are answered 503. */
const mostAtOnce = 512

/** HTTP of a witness: `POST /add-checkpoint`, `GET /<SHA-256 of the origin>/checkpoint` and `GET /healthz`. */
export function createWitnessApp(deps: AddCheckpointDeps): Hono {
  const { store, log } = deps
  const app = new Hono()
  let inWork = 0

  app.post('/add-checkpoint', async (c) => {
    if (inWork >= mostAtOnce) return c.text('too many requests at once\n', 503, { 'retry-after': '1' })
    inWork++
    try {
      const body = await readBody(c.req.raw.body)
      if (body === 'too large') return c.text(`the request is larger than ${maxRequestBytes} bytes\n`, 413)
      if (body === 'cut short') return c.text('the request did not arrive whole\n', 400)
      return responseOf(await addCheckpoint(body, deps))
    } finally {
      inWork--
    }
  })

  for (const origin of deps.logs.keys()) {
    app.get(`/${monitorPath(origin)}`, (c) => {
      const head = store.latest(origin)
      if (head === undefined) return c.text('no checkpoint of this log was cosigned yet\n', 404)
      return c.text(head.note, 200, { 'cache-control': 'max-age=5' })
    })
  }

  app.get('/healthz', (c) => c.json({ status: 'ok' }))
  app.notFound((c) => c.text('there is nothing here\n', 404))
  app.onError((error, c) => {
    log.error({ error }, 'witness.request_failed')
    return c.text('the witness failed; nothing was cosigned\n', 500)
  })
  return app
}

function responseOf(answer: Answer): Response {
  const text = (body: string, type = 'text/plain; charset=utf-8'): Response =>
    new Response(body, { status: answer.status, headers: { 'content-type': type, 'cache-control': 'no-store' } })
  if (answer.status === 200) return text(answer.cosignature)
  if (answer.status === 409) return text(`${answer.size}\n`, sizeType)
  return text(`${answer.reason}\n`)
}

/** Bytes are counted as they arrive, whatever the headers say. */
async function readBody(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array | 'too large' | 'cut short'> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of body ?? []) {
      size += chunk.length
      if (size > maxRequestBytes) return 'too large'
      chunks.push(chunk)
    }
  } catch {
    return 'cut short'
  }
  return Buffer.concat(chunks)
}
