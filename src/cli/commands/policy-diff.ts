import { diffPolicies, diffText } from '../../policy/diff.ts'
import { preview } from '../../policy/preview.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { readLiveState } from '../live-state.ts'
import { parseOptions } from '../options.ts'
import { boundedPreview, type Difference, markdownOf, previewText } from '../policy-preview.ts'
import { printable } from '../terminal.ts'
import { loadOrReport } from './policy-files.ts'

/** `writ policy diff`: what changes between two folders, and with `--live` what it does to what is alive. */
export const policyDiffCommand: Command = {
  name: 'diff',
  summary: 'show who gains and loses what between two folders',
  usage: `
usage: writ policy diff OLD NEW [--live URL] [--format text|markdown] [--json]

Compares what every workload may have, not the text of the files.

  +  a way to a credential appears          -  it goes
  >  it stays with wider bounds             <  with narrower ones
  ~  it stays under other terms (a condition, a match): read them

  --live URL          ask a broker what is alive and what was asked for lately, and show which grants the change would end or
                      shorten, and which requests it would answer otherwise. Needs the token of an auditor, or of an owner, who
                      then sees what is theirs. Nothing is changed. No reason and no subject of a request is printed
  --requests N        how many of the newest requests of each kind to replay (default 1000, at most 10000)
  --format markdown   tables for a comment on a change, bounded to what such a comment may hold
  --json              print {"before","after","changes":[…]}, with --live also {"preview":{…}}
${clientHelp}

What only the token knows (claims but \`sub\`) counts as fulfilled, as it does for the broker at a reload; a renewal decides on it.

Exit status: 0 whether or not they differ, 1 a folder cannot be loaded, 2 usage; with --live also 3 to 5.

examples:
  git worktree add -q /tmp/before HEAD && writ policy diff /tmp/before/policies ./policies      # in a pre-commit hook
  writ policy diff main/policies policies --live https://writ.example.com --format markdown > comment.md
`,
  async run(args, io) {
    const { values, positionals } = parseOptions(args, options, ['OLD', 'NEW'])
    const [old = '', now = ''] = positionals
    const { live, format = 'text' } = values
    if (format !== 'text' && format !== 'markdown') throw new UsageError('--format is text or markdown')
    const requests = Number(values.requests ?? 1000)
    if (!Number.isInteger(requests) || requests < 0 || requests > 10_000) {
      throw new UsageError('--requests is a whole number up to 10000')
    }
    const before = await loadOrReport(old, io, values.json === true)
    if (before === undefined) return exit.fault
    const after = await loadOrReport(now, io, values.json === true)
    if (after === undefined) return exit.fault
    const difference: Difference = { before: before.digest, after: after.digest, changes: diffPolicies(before, after) }
    if (live === undefined) {
      print(difference, format, values.json === true, io)
      return exit.done
    }
    const client = connect({ ...values, url: live }, io)
    const { unseen, ...state } = await readLiveState(client, requests)
    const seen = await preview(before, after, { ...state, nowMs: io.clock.now() })
    if (unseen > 0)
      io.stderr(`${unseen} live grants were not looked at: their entries are not yours to read, or too many\n`)
    print({ ...difference, preview: { ...seen, unseen } }, format, values.json === true, io)
    return exit.done
  },
}

const options = {
  ...clientOptions,
  live: { type: 'string' },
  requests: { type: 'string' },
  format: { type: 'string' },
  json: { type: 'boolean' },
} as const

function print(difference: Difference, format: 'text' | 'markdown', json: boolean, io: Io): void {
  const { before, after, changes, preview: seen } = difference
  if (json) {
    writeJson(io, { before, after, changes, ...(seen && { preview: boundedPreview(seen) }) })
    return
  }
  if (format === 'markdown') {
    io.stdout(printable(markdownOf(difference), true))
    return
  }
  io.stdout(changes.length === 0 ? 'no difference\n' : printable(diffText(changes), true))
  if (seen !== undefined) io.stdout(previewText(seen))
}
