import type { PolicyChange } from '../policy/diff.ts'
import type { Preview } from '../policy/preview.ts'
import { printable, table } from './terminal.ts'

/** A preview, and how many live grants it leaves out. */
export type SeenPreview = Preview & { readonly unseen: number }

/** Two sets compared, and where a broker was asked what that does there. */
export interface Difference {
  readonly before: string
  readonly after: string
  readonly changes: readonly PolicyChange[]
  readonly preview?: SeenPreview
}

/** Rows of one list: what a terminal shows, what a comment holds, and what a program gets. */
const mostShown = 50
const mostListed = 1000
/** A comment on a change takes 65,536 characters on the larger code hosts. */
const mostCharacters = 60_000

/** The preview with its lists cut; the counts beside them stay those of the whole. */
export function boundedPreview(seen: SeenPreview): object {
  const { ends, shortened, allowed, refused } = seen
  return {
    ...seen,
    counts: { ends: ends.length, shortened: shortened.length, allowed: allowed.length, refused: refused.length },
    ends: ends.slice(0, mostListed),
    shortened: shortened.slice(0, mostListed),
    allowed: allowed.slice(0, mostListed),
    refused: refused.slice(0, mostListed),
  }
}

/** The preview for a terminal. */
export function previewText(seen: SeenPreview): string {
  const { ends, shortened, allowed, refused } = seen
  const lists = [
    ...[ends, shortened].map((list) =>
      table(
        ['GRANT', 'WORKLOAD', 'OWNER', 'PURPOSE', 'CREDENTIAL', 'WHY'],
        list
          .slice(0, mostShown)
          .map(({ grant, workload, owner, purpose, credential, reason, ends_at }) => [
            grant,
            workload,
            owner,
            purpose,
            credential,
            ends_at === undefined ? reason : `ends ${ends_at}: ${reason}`,
          ]),
      ),
    ),
    ...[allowed, refused].map((list) =>
      table(
        ['REQUESTS', 'WORKLOAD', 'PURPOSE', 'CREDENTIAL', 'REFUSED FOR'],
        list
          .slice(0, mostShown)
          .map(({ requests, workload, purpose, credential, reason }) => [
            String(requests),
            workload,
            purpose,
            credential ?? '-',
            reason,
          ]),
      ),
    ),
  ]
  return headings(seen)
    .map((heading, at) => `\n${heading}\n${lists[at] ?? ''}`)
    .join('')
}

/** Everything as Markdown: tables that fit a comment, with the counts of the whole. */
export function markdownOf({ before, after, changes, preview: seen }: Difference): string {
  const parts = [
    `### Policies \`${before.slice(0, 12)}\` → \`${after.slice(0, 12)}\``,
    section(
      changes.length === 0 ? 'Nobody may have anything else than before.' : 'What workloads may have',
      ['', 'workload / purpose', 'credential', 'what'],
      changes.map(({ change, workload, purpose, credential, field, before: was, after: is }) => [
        change,
        `${workload} / ${purpose}`,
        credential,
        field === undefined ? '' : `${field}: ${was} → ${is}`,
      ]),
    ),
  ]
  if (seen !== undefined) {
    const [ends = '', shortened = '', allowed = '', refused = ''] = headings(seen)
    const grantHead = ['grant', 'workload', 'owner', 'purpose', 'credential', 'why']
    const requestHead = ['requests', 'workload', 'purpose', 'credential', 'refused for']
    const grantRow = ({ grant, workload, owner, purpose, credential, reason, ends_at }: Preview['ends'][number]) => [
      grant,
      workload,
      owner,
      purpose,
      credential,
      ends_at === undefined ? reason : `${reason}, ends ${ends_at}`,
    ]
    const requestRow = ({ requests, workload, purpose, credential, reason }: Preview['allowed'][number]) => [
      String(requests),
      workload,
      purpose,
      credential ?? '',
      reason,
    ]
    parts.push(
      section(ends, grantHead, seen.ends.map(grantRow)),
      section(shortened, grantHead, seen.shortened.map(grantRow)),
      section(allowed, requestHead, seen.allowed.map(requestRow)),
      section(refused, requestHead, seen.refused.map(requestRow)),
    )
  }
  const whole = `${parts.join('\n\n')}\n`
  if (whole.length <= mostCharacters) return whole
  const cut = whole.lastIndexOf('\n', mostCharacters)
  return `${whole.slice(0, cut)}\n\n… cut here; \`writ policy diff --json\` has the rest.\n`
}

/** What each list is, with its count: the grants that end, those that end earlier, requests allowed, requests refused. */
function headings(seen: SeenPreview): readonly string[] {
  const { live, ends, shortened, unsupported, requests, allowed, refused, unseen } = seen
  const share = live === 0 ? '' : ` (${Math.round((ends.length / live) * 100)} %)`
  const already = unsupported === 0 ? '' : `; ${unsupported} are not supported by the old policies either`
  const left = unseen === 0 ? '' : `; ${unseen} more were not looked at`
  const sum = (turns: Preview['allowed']): number => turns.reduce((total, turn) => total + turn.requests, 0)
  return [
    `${ends.length} of ${live} live grants would end${share}${already}${left}`,
    `${shortened.length} would end earlier`,
    `${sum(allowed)} of ${requests} recent requests were refused and would be supported`,
    `${sum(refused)} of ${requests} recent requests would be refused`,
  ]
}

function section(title: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return title
  const line = (cells: readonly string[]): string => `| ${cells.map(cellText).join(' | ')} |`
  const shown = rows.slice(0, mostShown).map(line)
  const more = rows.length > mostShown ? [`\n… and ${rows.length - mostShown} more.`] : []
  return [`${title}\n`, line(head), line(head.map(() => '---')), ...shown, ...more].join('\n')
}

/** Text of policies within a table: nothing in it ends a cell, opens a tag or a link, or calls for anybody. */
const cellText = (text: string): string =>
  printable(text.slice(0, 300))
    .replaceAll('\\', '\\\\')
    .replace(/[|`*_[\]<>#@~]/g, (character) =>
      character === '<' ? '&lt;' : character === '@' ? '&#64;' : `\\${character}`,
    )
