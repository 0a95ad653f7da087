import type { Code } from '../base/codes.ts'

// Which codes a route can answer with, for its documentation. Every route also answers with `alwaysCodes`.

/** Codes of a token that was not accepted. */
const tokenCodes: readonly Code[] = [
  'token_missing',
  'token_invalid',
  'token_expired',
  'token_not_yet_valid',
  'token_too_old',
  'token_replayed',
  'session_revoked',
  'issuer_unknown',
  'audience_mismatch',
  'proof_invalid',
]

/** Codes any route for callers can answer with. */
export const alwaysCodes: readonly Code[] = [
  ...tokenCodes,
  'account_disabled',
  'too_large',
  'internal',
  'ledger_unavailable',
  'state_unavailable',
  'draining',
]

/** Codes a route that anyone may read can answer with. */
export const openCodes: readonly Code[] = ['internal', 'ledger_unavailable', 'draining']

/** Codes of a workload that may not act. */
export const workloadCodes: readonly Code[] = [
  'workload_unknown',
  'workload_ambiguous',
  'workload_suspended',
  'owner_missing',
]

/** Codes of a purpose that does not support the request. */
export const decisionCodes: readonly Code[] = [
  ...workloadCodes,
  'purpose_unknown',
  'purpose_ended',
  'credential_not_in_purpose',
  'task_required',
  'condition_failed',
  'guardrail_denied',
  'review_overdue',
  'approval_denied',
  'exception_expired',
  'issuance_held',
  'limit_reached',
]

/** Codes of minting. */
export const issuanceCodes: readonly Code[] = ['not_found', 'state_conflict', 'engine_refused', 'vault_unavailable']
