import { type CodeText, codes } from '../base/codes.ts'
import type { Route } from './route.ts'

/** The style sheet of every page, exactly as it stands between the tags. */
export const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8884 }
code { font-family: ui-monospace, monospace; font-size: .9em }
section:target { outline: 2px solid; outline-offset: .5rem }
`

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text made safe inside an element or a quoted attribute. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (char) => entities[char] ?? '')

// Text of our tables marks code with backquotes.
const prose = (text: string): string => escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>')

const page = (title: string, body: string): string =>
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
<body>
<h1>${escapeHtml(title)}</h1>
${body}
</body>
</html>
`

/** The page at `/docs`: every route, and every problem code. */
export const indexPage = (routes: readonly Route[]): string =>
  page(
    'writ: interface',
    `<p>The same in machine-readable form: <a href="/openapi.json">openapi.json</a>. Bodies are JSON, at most 64 KiB; unknown fields are refused. Routes marked with a lock need <code>Authorization: Bearer …</code>.</p>
<h2 id="routes">Routes</h2>
<table><thead><tr><th>Route</th><th>What it does</th><th>Answers</th></tr></thead>
<tbody>${routes.map(routeRow).join('\n')}</tbody></table>
<h2 id="problems">Problems</h2>
<p>Every refusal is <code>application/problem+json</code> (RFC 9457). Codes are stable.</p>
${codeSections()}`,
  )

/** The page at `/docs/errors`, where each code has its anchor. */
export const errorsPage = (): string =>
  page('writ: problem codes', `<p><a href="/docs">All routes</a></p>\n${codeSections()}`)

function routeRow(route: Route): string {
  const lock = route.access === 'bearer' ? ' <span title="needs a bearer token">🔒</span>' : ''
  const answers = route.answers.map((answer) => `${answer.status} ${escapeHtml(answer.description)}`).join('<br>')
  const path = `<code>${route.method.toUpperCase()} ${escapeHtml(route.path)}</code>`
  return `<tr><td>${path}${lock}</td><td>${prose(route.summary)}</td><td>${answers}</td></tr>`
}

function codeSections(): string {
  const section = ([code, text]: [string, CodeText]): string =>
    `<section id="${escapeHtml(code)}"><h3><code>${escapeHtml(code)}</code> · ${text.status}</h3>
<p><strong>${prose(text.title)}.</strong> ${prose(text.detail)}</p><p>${prose(text.fix)}</p></section>`
  return Object.entries(codes).map(section).join('\n')
}
