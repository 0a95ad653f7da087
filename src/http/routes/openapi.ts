import { probeRoute, type Route } from '../route.ts'

/** `/openapi.json`. The document is made on the first request and kept; so is the library that makes it loaded. */
export function openApiRoutes(routes: () => readonly Route[], version: string, publicUrl: string): readonly Route[] {
  let text: string | undefined
  return [
    probeRoute({
      path: '/openapi.json',
      tag: 'documentation',
      summary: 'This interface as an OpenAPI 3.1 document',
      answers: [{ status: 200, description: 'The document', content: 'application/json' }],
      codes: [],
      async read() {
        if (text === undefined) {
          const { openApiDocument } = await import('../openapi.ts')
          text = JSON.stringify(openApiDocument(routes(), version, publicUrl))
        }
        return { status: 200, type: 'application/json', body: text, headers: { 'cache-control': 'no-cache' } }
      },
    }),
  ]
}
