import { z } from 'zod'
import { type Code, codes } from '../base/codes.ts'
import { deliveryField } from '../contract/credential.ts'
import { mostParts } from '../contract/fields.ts'
import { maxStatementLength } from './log/rotation.ts'

/**
 * The closed list of what the ledger can say. No field can hold a secret: secrets have no field, text is bounded,
 * and the one thing that could act on a lease is sealed (JWE) before it comes here. Invariant 3 rests on this file.
 */

// Names from policies and ids of our own making.
const name = z.string().max(200)
// Text that came from outside (a token subject, a reason): genuine or not, it is bounded and shown escaped.
const outsideText = z.string().max(512)
const time = z.iso.datetime({ precision: 3 })
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const seconds = z.int().nonnegative()
const code = z.enum(Object.keys(codes) as [Code, ...Code[]])

/** Who did it: a workload or a person behind a verified token, somebody unproved, or the broker itself. */
const actor = z.discriminatedUnion('type', [
  z.strictObject({ issuer: name, name, subject: outsideText, type: z.literal('workload') }),
  z.strictObject({ issuer: name, subject: outsideText, teams: z.array(name).max(50), type: z.literal('person') }),
  z.strictObject({ issuer: name.optional(), type: z.literal('unproved') }),
  z.strictObject({ reason: name, type: z.literal('broker') }),
])

/** Fields any entry may carry, so that one index answers every question. */
const common = {
  v: z.literal(1),
  time,
  actor,
  workload: name.optional(),
  owner: name.optional(),
  purpose: name.optional(),
  environment: name.optional(),
  credential: name.optional(),
  grant: name.optional(),
  task: name.optional(),
  approval: name.optional(),
  /** The order to revoke that caused it, or that it is about. */
  revocation: name.optional(),
  /** The credentials that were asked for in one request and issued together, all or nothing. */
  composite: name.optional(),
  /** SHA-256 of the policy set that was in force. */
  policy: sha256.optional(),
  request: name.optional(),
  trace: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
  /** SHA-256 that names the token that was presented; see `Identity.fingerprint`. */
  token: sha256.optional(),
  /** SHA-256 thumbprint (RFC 7638, base64url) of the key that the caller has proved it holds. */
  jkt: z
    .string()
    .regex(/^[A-Za-z0-9_-]{43}$/)
    .optional(),
}

const ceiling = z.strictObject({ name, seconds })

const publicId = z.strictObject({
  type: z.enum([
    'database_user',
    'rabbitmq_user',
    'certificate_serial',
    'ssh_key_id',
    'ssh_serial',
    'kv_version',
    'token_sha256',
    'ldap_user',
    'service_account',
    'access_key_id',
    'client_id',
    'username',
    'wrapping_accessor',
    'jwt_id',
  ]),
  value: name,
})

/** The lease handle: a hash to join on, and the handle itself sealed with the broker's key (compact JWE). */
const lease = z.strictObject({ hash: sha256, sealed: z.string().max(4096) })

const endReason = z.enum([
  'handed_back',
  'undelivered',
  'revoked',
  'expired',
  'task_ended',
  'issuance_failed',
  'policy_changed',
  'kill_switch',
  'signal',
  'owner_left',
  'found_gone',
  'orphan',
  'replaced',
])

const kinds = [
  z.strictObject({ ...common, kind: z.literal('broker.started'), version: name, engine_server: name.optional() }),
  z.strictObject({ ...common, kind: z.literal('broker.stopped'), cause: outsideText }),
  z.strictObject({ ...common, kind: z.literal('policy.loaded'), workloads: seconds, warnings: seconds }),
  z.strictObject({
    ...common,
    kind: z.literal('policy.refused'),
    problems: z.array(outsideText).max(20),
    total: seconds,
  }),
  /** The set decides, and the many grants that it does not support live on until an operator has said yes to their end. */
  z.strictObject({ ...common, kind: z.literal('policy.held'), live: seconds, would_end: seconds }),
  z.strictObject({ ...common, kind: z.literal('policy.accepted'), would_end: seconds }),
  z.strictObject({
    ...common,
    kind: z.literal('request.denied'),
    code,
    rules: z.array(z.strictObject({ detail: outsideText, ok: z.boolean(), rule: name })).max(32),
    /** How many further refusals of the same caller this entry stands for; they are recorded in bulk under a flood. */
    suppressed: seconds.optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('grant.intent'),
    engine: name,
    mount: name,
    role: name,
    /** SHA-256 of the fixed parameters of the Credential, where it has any: tells whether they are the same later. */
    params: sha256.optional(),
    delivery: deliveryField,
    ttl: seconds,
    ceilings: z.array(ceiling).max(64),
    /** What the credential reaches, in the words of its Credential document. */
    data: z.array(name).max(100),
    sensitivity: z.enum(['low', 'medium', 'high']),
    reason: outsideText.optional(),
    exception: name.optional(),
    /** Where the task counts its grants: the how many-th it is. */
    task_grant: seconds.optional(),
    /** SHA-256 over workload, purpose and the caller's Idempotency-Key; and the same with the request. */
    idempotency_key: sha256.optional(),
    idempotency_request: sha256.optional(),
    /** The grant of the same key, whose answer its caller has not seen. */
    replaces: name.optional(),
    /** The caller's parameters, sealed as a lease is: a renewal is decided over them again. */
    caller_params: z.string().max(8192).optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('grant.issued'),
    /** As in the intent, so that one entry answers who held what and what it reached. */
    data: z.array(name).max(100),
    sensitivity: z.enum(['low', 'medium', 'high']),
    ceilings: z.array(ceiling).max(64),
    lease: lease.optional(),
    ids: z.array(publicId).max(8),
    expires: time.optional(),
    renewable: z.boolean(),
    revocable: z.boolean(),
    /** The secret outlives the grant: nothing ends it at `expires`. */
    static: z.boolean(),
    /** Of a secret that stands: when it was last changed, when it will be, and every how many seconds. */
    rotation: z.strictObject({ every: seconds.optional(), rotated_at: time, rotates_at: time.optional() }).optional(),
    /** Which of the broker's own Vault tokens, counted by login, the secret dies with; absent where it hangs on none. */
    generation: seconds.optional(),
  }),
  /**
   * Every part of the set is issued and was wanted still: only after this entry did its secrets leave. What of a set without it is alive
   * when the broker starts, nobody has seen, and it ends.
   */
  z.strictObject({
    ...common,
    kind: z.literal('composite.issued'),
    /** The grants, in the order in which they were asked for. */
    parts: z.array(name).max(mostParts),
  }),
  /** The mint did not happen, or its outcome is unknown (`ambiguous`) and reconciling will settle it. */
  z.strictObject({ ...common, kind: z.literal('grant.failed'), code, ambiguous: z.boolean(), detail: outsideText }),
  z.strictObject({ ...common, kind: z.literal('grant.renewed'), expires: time, ceilings: z.array(ceiling).max(64) }),
  /** The policies allow it less than it was given; it ends earlier, unless it is renewed under them. */
  z.strictObject({ ...common, kind: z.literal('grant.shortened'), expires: time, reason: outsideText }),
  /** Somebody or something decided that the grant must end; the revocation is under way. */
  z.strictObject({ ...common, kind: z.literal('grant.ending'), cause: endReason, reason: outsideText.optional() }),
  z.strictObject({
    ...common,
    kind: z.literal('grant.ended'),
    cause: endReason,
    /** `irrevocable`: every attempt failed so far; `expires_only`: the engine cannot end it before it expires. */
    outcome: z.enum(['revoked', 'expired', 'expires_only', 'failed', 'irrevocable', 'gone']),
    latency_ms: seconds.optional(),
    attempts: seconds.optional(),
    /** Kind of mount, so that one entry says how long ending a secret of that kind took. */
    engine: name.optional(),
    /** The lease of an orphan, which no intent of ours can be joined to. */
    lease_hash: sha256.optional(),
    detail: outsideText.optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('approval.requested'),
    level: z.enum(['owner', 'two-person']),
    approvers: z.array(name).max(20),
    /** SHA-256 of the exact request that may be approved. */
    digest: sha256,
    /** Of a set, where `credential` says nothing: what it is made of, in the order in which it was asked for. */
    credentials: z.array(name).max(mostParts).optional(),
    ttl: seconds,
    reason: outsideText.optional(),
    expires: time,
  }),
  z.strictObject({
    ...common,
    kind: z.literal('approval.granted'),
    reason: outsideText.optional(),
    complete: z.boolean(),
  }),
  z.strictObject({ ...common, kind: z.literal('approval.denied'), reason: outsideText.optional() }),
  z.strictObject({ ...common, kind: z.literal('approval.expired') }),
  z.strictObject({ ...common, kind: z.literal('approval.used') }),
  z.strictObject({
    ...common,
    kind: z.literal('task.opened'),
    intent: outsideText,
    expires: time,
    /** Seconds within which its holder must say that it is at work. */
    heartbeat: seconds.optional(),
    /** The job or pod that the token names, where the task was derived from it. */
    run: name.optional(),
    /** SHA-256 over workload, purpose and the caller's Idempotency-Key; and the same with the request. */
    idempotency_key: sha256.optional(),
    idempotency_request: sha256.optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('task.ended'),
    cause: z.enum(['holder', 'deadline', 'revoked', 'signal', 'policy', 'heartbeat']),
    outcome: outsideText.optional(),
    grants: seconds,
  }),
  /**
   * Everything that matches must end, and nothing that matches is issued. `match` says which field names what is matched. It stands
   * until it is completed, and its hold on issuance for `hold` seconds after that.
   */
  z.strictObject({
    ...common,
    kind: z.literal('revocation.ordered'),
    match: z.enum(['workload', 'owner', 'purpose', 'issuer', 'credential', 'task', 'all']),
    issuer: name.optional(),
    /** Only what these teams own; absent where an operator ordered it. */
    teams: z.array(name).max(50).optional(),
    reason: outsideText,
    hold: seconds,
    /** Grants that matched when it was given. */
    grants: seconds,
  }),
  /** Every grant of the order has ended. `expires`: until when issuance is held. */
  z.strictObject({
    ...common,
    kind: z.literal('revocation.completed'),
    grants: seconds,
    latency_ms: seconds,
    expires: time.optional(),
  }),
  /** An operator lets issuance go on before its time. `expires`: until when it would have been held, where the order was completed. */
  z.strictObject({
    ...common,
    kind: z.literal('revocation.lifted'),
    reason: outsideText.optional(),
    expires: time.optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('signal.received'),
    /** Name of the Issuer that signed the signal. */
    source: name,
    signal: name,
    /** How many team members and workloads of the policies the signal is about. */
    matched: seconds,
    /** Whom it is about, where its identifiers name somebody: Issuer document and subject. */
    issuer: name.optional(),
    subject: outsideText.optional(),
    /**
     * `recorded`: nothing follows. `ended`: what the subject held and was issued before `event_time` ends. `disabled`: that, and
     * the subject gets nothing until `enabled`. `renamed`: the policies name somebody who is called otherwise now.
     */
    effect: z.enum(['recorded', 'ended', 'disabled', 'enabled', 'renamed']).optional(),
    event_time: time.optional(),
    /** SHA-256 over `iss` and `jti` of the SET; in the last entry about it, so that half a record leaves it to be sent again. */
    set: sha256.optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('review.attested'),
    verdict: z.enum(['keep', 'narrow', 'drop']),
    reason: outsideText.optional(),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('finding.opened'),
    finding: name,
    severity: z.enum(['info', 'warning', 'critical']),
    detail: outsideText,
  }),
  z.strictObject({ ...common, kind: z.literal('finding.closed'), finding: name }),
  /** The leases in Vault were compared with this record: a round that changed something, or that somebody asked for. */
  z.strictObject({
    ...common,
    kind: z.literal('reconcile.completed'),
    trigger: z.enum(['start', 'interval', 'demand']),
    dry_run: z.boolean(),
    /** Roles that were compared, and those of them where something could not be done. */
    targets: seconds,
    failed: seconds,
    leases: seconds,
    orphans: seconds,
    /** Leases of others, in roles that are shared. */
    foreign: seconds,
    gone: seconds,
    latency_ms: seconds,
  }),
  z.strictObject({ ...common, kind: z.literal('config.changed'), setting: name, detail: outsideText }),
  /** The file ended in half a record after a crash; the half was cut off. Nothing durable was lost. */
  z.strictObject({ ...common, kind: z.literal('config.ledger_repaired'), bytes: seconds }),
  /** The ledger goes over to a new signing key; the old one says so in a statement that stands on its own (rotation.ts). */
  z.strictObject({
    ...common,
    kind: z.literal('config.key_rotated'),
    new_key: outsideText,
    statement: z.string().max(maxStatementLength),
  }),
  /** Full entry bundles, those of the entries `from` up to and not including `to`, were moved to another folder. */
  z.strictObject({
    ...common,
    kind: z.literal('config.archived'),
    from: seconds,
    to: seconds,
    bundles: seconds,
    destination: name,
  }),
] as const

/**
 * The kinds with their fields in alphabetical order, as those of the objects within them are: that is the order of RFC 8785,
 * and a parsed value has its fields in the order of its schema, so that writing an entry down needs no sorting.
 */
const kindsInOrder = kinds.map(({ shape }) =>
  z.strictObject(Object.fromEntries(Object.entries(shape).sort(([a], [b]) => (a < b ? -1 : 1)))),
) as unknown as typeof kinds

/** The schema every entry is checked against when it is read back, by the broker and by `writ ledger verify`. */
export const entrySchema = z.discriminatedUnion('kind', kindsInOrder)

/** One entry as it stands in the ledger. */
export type Entry = z.infer<typeof entrySchema>

type WithoutStamp<E> = E extends Entry ? Omit<E, 'v' | 'time'> : never
/** What a stage hands to `append`: the ledger adds the version and the time. */
export type EntryBody = WithoutStamp<Entry>
export type Actor = z.infer<typeof actor>
export type EndReason = z.infer<typeof endReason>
