import { createHmac, hash } from 'node:crypto'
import type { Entry } from '../entry.ts'

/** Version of the rules below; a manifest names it. Any change of what they make of an entry is a new version. */
export const transformVersion = 1

/** What a text is the name of. Equal texts of one class become equal hashes, and texts of two classes never do. */
type TextClass =
  | 'approval'
  | 'composite'
  | 'credential'
  | 'data'
  | 'digest'
  | 'engine'
  | 'environment'
  | 'exception'
  | 'finding'
  | 'grant'
  | 'issuer'
  | 'key'
  | 'mount'
  | 'public-id'
  | 'purpose'
  | 'reason'
  | 'request'
  | 'revocation'
  | 'role'
  | 'rule'
  | 'run'
  | 'sealed'
  | 'setting'
  | 'signal'
  | 'subject'
  | 'task'
  | 'team'
  | 'text'
  | 'trace'
  | 'version'
  | 'workload'

/** `kept` stands as it is: it is of a closed list, a number, a time, or a hash over what nobody can guess. */
type Treatment = 'kept' | TextClass

/**
 * What becomes of each field of an entry, by its path; `kind path` counts before `path`. Closed: a field that is not listed stops the
 * redaction, and a test compares the list with the schema.
 */
export const treatments: Readonly<Record<string, Treatment>> = {
  v: 'kept',
  kind: 'kept',
  time: 'kept',
  'actor.type': 'kept',
  'actor.name': 'workload',
  'actor.issuer': 'issuer',
  'actor.subject': 'subject',
  'actor.teams[]': 'team',
  'actor.reason': 'reason',
  workload: 'workload',
  owner: 'team',
  purpose: 'purpose',
  environment: 'environment',
  credential: 'credential',
  grant: 'grant',
  task: 'task',
  approval: 'approval',
  composite: 'composite',
  revocation: 'revocation',
  policy: 'kept',
  request: 'request',
  trace: 'trace',
  token: 'kept',
  // Whoever knows the public key, which its owner may show to anybody, knows this.
  jkt: 'key',
  version: 'version',
  engine_server: 'version',
  'broker.stopped cause': 'text',
  workloads: 'kept',
  warnings: 'kept',
  'problems[]': 'text',
  total: 'kept',
  live: 'kept',
  would_end: 'kept',
  code: 'kept',
  'rules[].rule': 'rule',
  'rules[].ok': 'kept',
  'rules[].detail': 'text',
  suppressed: 'kept',
  engine: 'engine',
  mount: 'mount',
  role: 'role',
  // As of `digest` below.
  params: 'digest',
  delivery: 'kept',
  ttl: 'kept',
  'ceilings[].name': 'rule',
  'ceilings[].seconds': 'kept',
  'data[]': 'data',
  sensitivity: 'kept',
  reason: 'text',
  exception: 'exception',
  task_grant: 'kept',
  // Made of names and of a key that a caller may have chosen badly.
  idempotency_key: 'digest',
  idempotency_request: 'digest',
  replaces: 'grant',
  'parts[]': 'grant',
  'credentials[]': 'credential',
  caller_params: 'sealed',
  'lease.hash': 'kept',
  'lease.sealed': 'sealed',
  'ids[].type': 'kept',
  'ids[].value': 'public-id',
  expires: 'kept',
  renewable: 'kept',
  revocable: 'kept',
  static: 'kept',
  'rotation.every': 'kept',
  'rotation.rotated_at': 'kept',
  'rotation.rotates_at': 'kept',
  generation: 'kept',
  ambiguous: 'kept',
  detail: 'text',
  cause: 'kept',
  outcome: 'kept',
  latency_ms: 'kept',
  attempts: 'kept',
  lease_hash: 'kept',
  level: 'kept',
  'approvers[]': 'team',
  // Made of names that can be guessed: whoever tries them all would find them again in a hash without a key.
  digest: 'digest',
  complete: 'kept',
  intent: 'text',
  heartbeat: 'kept',
  run: 'run',
  'task.ended outcome': 'text',
  grants: 'kept',
  source: 'issuer',
  signal: 'signal',
  matched: 'kept',
  match: 'kept',
  'teams[]': 'team',
  hold: 'kept',
  issuer: 'issuer',
  subject: 'subject',
  effect: 'kept',
  event_time: 'kept',
  // Over what its issuer drew at random, as `token` is.
  set: 'kept',
  verdict: 'kept',
  finding: 'finding',
  severity: 'kept',
  setting: 'setting',
  bytes: 'kept',
  // Public keys and the name of the log, which the manifest shows as well.
  new_key: 'kept',
  statement: 'kept',
  from: 'kept',
  to: 'kept',
  bundles: 'kept',
  destination: 'text',
  trigger: 'kept',
  dry_run: 'kept',
  targets: 'kept',
  failed: 'kept',
  leases: 'kept',
  orphans: 'kept',
  foreign: 'kept',
  gone: 'kept',
}

/** What becomes of a field of entries of that kind; `undefined` when nothing says so. */
export const treatmentOf = (kind: string, path: string): Treatment | undefined =>
  treatments[`${kind} ${path}`] ?? treatments[path]

/** Redacts entries one by one, whatever came before them. */
export type Redactor = (entry: Entry) => unknown

/**
 * Replaces every name and every text of an entry by a keyed hash of the same shape: HMAC-SHA-256 under the names key over the class of the
 * text and the text. What it gives satisfies the schema of entries, and the rules of their story, as far as the entry did.
 * @throws TypeError for a field that is not listed above
 */
export function createRedactor(namesKey: Uint8Array): Redactor {
  const known = new Map<string, string>()

  function hashed(textClass: TextClass, text: string): string {
    const input = `${textClass}\n${text}`
    let found = known.get(input)
    if (found === undefined) {
      found = shaped(textClass, createHmac('sha256', namesKey).update(`${domain}\n${input}`).digest())
      // Names come again and again, and texts seldom: a bound of some size holds all the names there are.
      if (known.size >= mostKnown) known.clear()
      known.set(input, found)
    }
    return found
  }

  function redacted(value: unknown, kind: Entry['kind'], path: string): unknown {
    if (Array.isArray(value)) return value.map((item) => redacted(item, kind, `${path}[]`))
    if (typeof value === 'object' && value !== null) {
      const below = path === '' ? '' : `${path}.`
      return Object.fromEntries(
        Object.entries(value).map(([name, inner]) => [name, redacted(inner, kind, below + name)]),
      )
    }
    const treatment = treatmentOf(kind, path)
    if (treatment === 'kept') return value
    if (treatment === undefined || typeof value !== 'string') throw new TypeError(`nothing says how to redact ${path}`)
    return hashed(treatment, value)
  }

  return (entry) => redacted(entry, entry.kind, '')
}

const domain = `writ.dev/ledger-redaction@v${transformVersion}`
const mostKnown = 50_000

/** The id by which a manifest names a names key: a hash from which the key cannot be found. */
export const namesKeyId = (namesKey: Uint8Array): string =>
  hash('sha256', Buffer.concat([Buffer.from(`${domain} names key\n`), namesKey]), 'hex')

const idPrefixes: Partial<Record<TextClass, string>> = {
  grant: 'gr_',
  task: 'tsk_',
  approval: 'ap_',
  composite: 'cmp_',
  revocation: 'rev_',
  request: 'rq_',
}

/** A hash in the shape that its field has: an identifier, 32 or 64 hexadecimal digits, or a name. */
function shaped(textClass: TextClass, mac: Buffer): string {
  if (textClass === 'key') return mac.toString('base64url')
  if (textClass === 'digest') return mac.toString('hex')
  if (textClass === 'trace') return mac.toString('hex', 0, 16)
  return `${idPrefixes[textClass] ?? `${textClass}-`}${base32(mac)}`
}

// As in the identifiers of the broker: 26 characters, of which each is five bits of the hash.
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

function base32(bytes: Uint8Array): string {
  let bits = BigInt(`0x${Buffer.from(bytes).toString('hex', 0, 17)}`) >> 6n
  let text = ''
  for (let i = 0; i < 26; i++) {
    text = alphabet[Number(bits & 31n)] + text
    bits >>= 5n
  }
  return text
}
