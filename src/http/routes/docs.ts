import { hash } from 'node:crypto'
import { errorsPage, indexPage, style } from '../docs-page.ts'
import type { Reply } from '../reply.ts'
import { probeRoute, type Route } from '../route.ts'

/**
 * The pages for people. `routes` is read when a page is asked for, so that it lists every route of the application.
 * Pages hold no script and one style sheet, which the content security policy names by its hash.
 */
export function docsRoutes(routes: () => readonly Route[]): readonly Route[] {
  const policy = `default-src 'none'; style-src 'sha256-${hash('sha256', style, 'base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
  const page = (text: string): Reply => ({
    status: 200,
    type: 'text/html; charset=utf-8',
    body: text,
    headers: { 'content-security-policy': policy, 'cache-control': 'no-cache' },
  })
  return [
    probeRoute({
      path: '/docs',
      tag: 'documentation',
      summary: 'Every route and every problem code, for people',
      answers: [{ status: 200, description: 'A page', content: 'text/html' }],
      codes: [],
      read: async () => page(indexPage(routes())),
    }),
    probeRoute({
      path: '/docs/errors',
      tag: 'documentation',
      summary: 'Every problem code: the target of the `type` of a problem',
      answers: [{ status: 200, description: 'A page', content: 'text/html' }],
      codes: [],
      read: async () => page(errorsPage()),
    }),
  ]
}
