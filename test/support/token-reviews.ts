import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { selfSigned } from './self-signed.ts'

interface Review {
  readonly authorization: string | undefined
  readonly body: {
    readonly apiVersion: string
    readonly kind: string
    readonly spec: { readonly token: string; readonly audiences: string[] }
  }
}

/**
 * A double of the one call of a Kubernetes API server that the broker makes, behind real TLS: no kube-apiserver runs here. It
 * answers in the shape that kubernetes.io documents for `TokenReview v1 authentication.k8s.io`.
 */
export interface TokenReviews {
  readonly url: string
  readonly tokenFile: string
  readonly caFile: string
  /** What was asked so far. */
  readonly asked: Review[]
  /** How reviews are answered from now on; `undefined` leaves them without an answer. */
  answer(how: (review: Review) => { status?: number; body: unknown } | undefined): void
  close(): Promise<void>
}

/** A status that says yes, about this subject, for the audiences that were asked about. */
export const good = (username: string) => (review: Review) => ({
  body: {
    ...review.body,
    status: { authenticated: true, audiences: review.body.spec.audiences, user: { username, groups: [] } },
  },
})

export async function startTokenReviews(): Promise<TokenReviews> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-reviews-'))
  const tls = await selfSigned('kube-apiserver')
  const [tokenFile, caFile] = [join(folder, 'token'), join(folder, 'ca.crt')]
  await writeFile(tokenFile, 'token-of-the-broker\n')
  await writeFile(caFile, tls.cert)
  const asked: Review[] = []
  let how: Parameters<TokenReviews['answer']>[0] = () => undefined
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (request.method !== 'POST' || request.url !== '/apis/authentication.k8s.io/v1/tokenreviews') {
      response.writeHead(404).end()
      return
    }
    const review: Review = {
      authorization: request.headers.authorization,
      body: JSON.parse(Buffer.concat(chunks).toString()) as Review['body'],
    }
    asked.push(review)
    const answered = how(review)
    if (answered === undefined) return
    response.writeHead(answered.status ?? 201, { 'content-type': 'application/json', location: 'https://localhost/' })
    response.end(typeof answered.body === 'string' ? answered.body : JSON.stringify(answered.body))
  }
  const server = createServer(tls, (request, response) => void serve(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    tokenFile,
    caFile,
    asked,
    answer: (next) => {
      how = next
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await rm(folder, { recursive: true, force: true })
    },
  }
}
