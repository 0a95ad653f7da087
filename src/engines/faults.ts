import { BrokerFault } from '../base/errors.ts'

/** What went wrong between the broker and Vault. Each kind has one rule for retrying; see `faultRules`. */
export type FaultKind =
  | 'unreachable'
  | 'busy'
  | 'lost'
  | 'timeout'
  | 'aborted'
  | 'unreadable'
  | 'oversized'
  | 'sealed'
  | 'standby'
  | 'rate_limited'
  | 'server'
  | 'interrupted'
  | 'gateway'
  | 'not_logged_in'
  | 'denied'
  | 'rejected'

interface FaultRule {
  readonly code: 'vault_unavailable' | 'engine_refused'
  /** Vault may have done what was asked although no usable answer came back. */
  readonly unknownOutcome: boolean
  /** Whether the same call is tried once more at once: `safe` calls only, `any` call (nothing was done), or none. */
  readonly again: 'none' | 'safe' | 'any'
  readonly retryAfterSeconds: number | undefined
  readonly text: string
}

/** The one table of how faults differ: what the caller is told, whether the outcome is known, and what is retried when. */
export const faultRules: Readonly<Record<FaultKind, FaultRule>> = {
  unreachable: unavailable('any', 1, 'no connection to Vault'),
  busy: unavailable('none', 1, 'every connection to Vault is in use'),
  lost: unknown('safe', 1, 'the connection broke before Vault answered'),
  timeout: unknown('none', 2, 'Vault did not answer within the deadline'),
  aborted: unknown('none', undefined, 'the call was given up by its caller'),
  unreadable: unknown('none', 5, 'the answer is not one Vault gives'),
  oversized: unknown('none', undefined, 'the answer is longer than is read'),
  sealed: unavailable('none', 15, 'Vault is sealed'),
  standby: unavailable('any', 2, 'this Vault node is a standby and did not pass the call on'),
  rate_limited: unavailable('none', 1, 'a rate limit quota of Vault is reached'),
  server: unavailable('none', 5, 'Vault failed'),
  interrupted: unknown('safe', 2, 'Vault was interrupted at its work, as by a change of its leader'),
  gateway: unknown('safe', 2, 'something in front of Vault answered in its place'),
  not_logged_in: unavailable('none', 2, 'the broker has no valid Vault token'),
  denied: {
    code: 'engine_refused',
    unknownOutcome: false,
    again: 'none',
    retryAfterSeconds: undefined,
    text: 'denied',
  },
  rejected: {
    code: 'engine_refused',
    unknownOutcome: false,
    again: 'none',
    retryAfterSeconds: undefined,
    text: 'refused',
  },
}

function unavailable(again: FaultRule['again'], retryAfterSeconds: number, text: string): FaultRule {
  return { code: 'vault_unavailable', unknownOutcome: false, again, retryAfterSeconds, text }
}

function unknown(again: FaultRule['again'], retryAfterSeconds: number | undefined, text: string): FaultRule {
  return { code: 'vault_unavailable', unknownOutcome: true, again, retryAfterSeconds, text }
}

/**
 * A call to Vault that did not do what was asked. The message is for operators: method, path from the policies, status
 * and the class of Vault's error; never a body, a header, a token or a caller's value.
 */
export class VaultFault extends BrokerFault {
  readonly kind: FaultKind
  /** HTTP status, or 0 when no answer came. */
  readonly status: number
  /** Vault's error, reduced to one of `errorClasses`; empty when there was none. */
  readonly errorClass: string

  constructor(
    kind: FaultKind,
    message: string,
    details: { status?: number; errorClass?: string; retryAfterSeconds?: number } = {},
  ) {
    const rule = faultRules[kind]
    const retryAfterSeconds = details.retryAfterSeconds ?? rule.retryAfterSeconds
    super(rule.code, message, retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
    this.name = 'VaultFault'
    this.kind = kind
    this.status = details.status ?? 0
    this.errorClass = details.errorClass ?? ''
  }
}

/** Whether Vault answered and said no, so that asking again says nothing new. */
export const isRefusal = (thrown: unknown): boolean => thrown instanceof VaultFault && thrown.code === 'engine_refused'

/** A mint whose outcome is unknown: Vault may hold a lease the broker has no handle for. Reconciling settles it. */
export class AmbiguousMint extends VaultFault {
  /** For callers that may import only types of this stage. */
  readonly ambiguous = true

  constructor(fault: VaultFault) {
    super(fault.kind, `${fault.message}; whether anything was minted is not known`, {
      status: fault.status,
      errorClass: fault.errorClass,
      ...(fault.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: fault.retryAfterSeconds }),
    })
    this.name = 'AmbiguousMint'
  }
}

// Vault words its errors freely and quotes what it was sent, so only a known class of error goes on. The hint says what to do.
const errorClasses: readonly (readonly [pattern: RegExp, name: string, hint: string])[] = [
  [/permission denied/i, 'permission denied', ''],
  [
    /error validating token|invalid role or secret id/i,
    'login refused',
    'compare what the broker logs in with to the role of the login method: issuer, audience, subject, life; role id, secret id',
  ],
  [/invalid token|bad token|token not found/i, 'invalid token', ''],
  [/sealed/i, 'sealed', ''],
  // The last is a standby of OpenBao 2.5.5 that was asked to end a lease: it does not pass that on.
  [/standby|not the active node|no active|active cluster node not found|storage is read-only/i, 'standby', ''],
  [/forwarding|context canceled|context deadline exceeded|leadership|shutting down/i, 'interrupted', ''],
  [/quota exceeded/i, 'quota exceeded', ''],
  [
    /child policies must be subset/i,
    'child policies must be subset of parent',
    'give the policy of wrapped delivery to the broker as well',
  ],
  [/lease not found|invalid lease/i, 'lease not found', ''],
  [/invalid accessor/i, 'accessor not found', ''],
  [/lease is not renewable/i, 'lease is not renewable', ''],
  [
    /unknown role|role .* (?:not|could not be) found/i,
    'unknown role',
    'create the role, or correct `role` in the Credential',
  ],
  [/signing key not found/i, 'unknown key', 'create the transit key, or correct `key` in the Credential'],
  [
    /no handler for route|unsupported path|route entry not found/i,
    'no such mount',
    'enable the engine, or correct `mount` in the Credential',
  ],
  [/unsupported operation/i, 'unsupported operation', 'the mount is of another engine than the Credential says'],
  [/setting key_id is not allowed/i, 'key_id not allowed', 'set `allow_user_key_ids=true` on the ssh role'],
  [
    /valid principals|not a valid value for valid_principals|principals/i,
    'principal not allowed',
    'add it to `allowed_users` of the ssh role',
  ],
  [/extension/i, 'extension not allowed', 'add it to `allowed_extensions` of the ssh role'],
  [
    /common name .* not allowed|subject alternate name|not allowed by this role|uri san/i,
    'name not allowed',
    'add the name to the pki role',
  ],
  [/backend is not configured|missing ca|issuer|default issuer/i, 'no issuer', 'configure a CA for the mount'],
  [
    /failed to revoke|failed to send revoke/i,
    'revocation failed',
    'look at the revocation statements of the role and at the target',
  ],
  [
    /ttl/i,
    'ttl not allowed',
    'raise `max_ttl` of the role or lower `ttl.max` of the Credential; a pki role must not set `not_after`',
  ],
  [
    /connection refused|error verifying connection|dial tcp|connect/i,
    'target unreachable',
    'look at the connection of the mount',
  ],
]

/** The class and hint of what Vault said; text outside the table is not repeated. */
export function classify(errors: readonly string[]): { readonly name: string; readonly hint: string } {
  for (const [pattern, name, hint] of errorClasses) {
    if (errors.some((text) => pattern.test(text))) return { name, hint }
  }
  return errors.length === 0
    ? { name: '', hint: '' }
    : { name: 'other', hint: 'what Vault said may quote secrets and is not repeated; its audit log has the request' }
}

/** One line of Vault policy. */
export function policyLine(path: string, capabilities: readonly string[]): string {
  return `path "${path}" { capabilities = [${capabilities.map((name) => `"${name}"`).join(', ')}] }`
}
