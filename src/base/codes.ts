/**
 * The one table of public codes: what each means on the wire (RFC 9457) and to a command's exit status.
 * `detail` is all a stranger is told; the exact reason goes to the ledger and to `writ policy explain`.
 */
export interface CodeText {
  readonly status: 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 429 | 500 | 502 | 503
  readonly title: string
  readonly detail: string
  readonly fix: string
}

const table = {
  request_invalid: {
    status: 400,
    title: 'The request is not valid',
    detail: 'The request does not have the shape this route takes.',
    fix: 'Compare the request with /openapi.json; each reason names one field.',
  },
  token_missing: {
    status: 401,
    title: 'No token was presented',
    detail: 'The request carries no bearer token.',
    fix: 'Send the workload token as `Authorization: Bearer …`.',
  },
  token_invalid: {
    status: 401,
    title: 'The token is not valid',
    detail: 'The token is malformed, or its signature or claims cannot be accepted.',
    fix: 'Ask the platform for a fresh token with the audience of this broker; `writ policy explain` shows each check.',
  },
  token_expired: {
    status: 401,
    title: 'The token has expired',
    detail: 'The token is past its expiry.',
    fix: 'Ask the platform for a fresh token and send the request again.',
  },
  token_not_yet_valid: {
    status: 401,
    title: 'The token is not valid yet',
    detail: 'The token starts to be valid in the future.',
    fix: 'Compare the clock of the machine that issued the token with the clock of the broker.',
  },
  token_too_old: {
    status: 401,
    title: 'The token was issued too long ago',
    detail: 'The token is older, or lives longer, than its issuer is trusted for here.',
    fix: 'Fetch a fresh token right before the request; its issuer entry states the greatest age and life.',
  },
  token_replayed: {
    status: 401,
    title: 'The token was used before',
    detail: 'The issuer of this token allows one use, and the token has been used.',
    fix: 'Ask the platform for a new token for each request.',
  },
  session_revoked: {
    status: 401,
    title: 'The session of this token was ended',
    detail: 'A signal from its identity provider took back what was issued before it, this token included.',
    fix: 'Ask the platform for a fresh token; a person logs in again.',
  },
  issuer_unknown: {
    status: 401,
    title: 'The issuer is not trusted',
    detail: 'No trusted issuer matches this token.',
    fix: 'Add an Issuer document whose `url` equals the `iss` claim, or use a token of a trusted issuer.',
  },
  audience_mismatch: {
    status: 401,
    title: 'The token is for someone else',
    detail: 'The audience of the token is not this broker.',
    fix: 'Request the token with the audience that the Issuer document names.',
  },
  proof_invalid: {
    status: 401,
    title: 'The proof of possession is not valid',
    detail: 'A proof is needed and is missing, or it does not match the key, the request or the token.',
    fix: 'Send one `DPoP` header (RFC 9449): a new proof for this token, method and path below the public URL of the broker, by the key the token is bound to; for `delivery: jwe` by an EC or RSA key of your own.',
  },
  workload_unknown: {
    status: 403,
    title: 'No workload matches this token',
    detail: 'The token is genuine, but no Workload document claims it.',
    fix: 'Add a Workload whose `match` names this issuer and these claims; `writ policy explain` shows the nearest one.',
  },
  workload_ambiguous: {
    status: 403,
    title: 'More than one workload matches this token',
    detail: 'The token fits more than one Workload document, so nobody answers for it.',
    fix: 'Make the `match` of those workloads disjoint; `writ policy explain` names them.',
  },
  workload_suspended: {
    status: 403,
    title: 'The workload may not hold credentials now',
    detail: 'The workload is proposed, suspended or retired.',
    fix: 'Ask the owner team to make the workload active.',
  },
  owner_missing: {
    status: 403,
    title: 'Nobody answers for this workload',
    detail: 'The owner team is retired or has not signed the workload off for production.',
    fix: 'Name an active owner team and record its sign-off in the Workload document.',
  },
  purpose_unknown: {
    status: 403,
    title: 'The purpose is not registered',
    detail: 'This workload has no purpose of that name.',
    fix: 'Use a purpose the Workload document lists, or ask the owner to add one.',
  },
  purpose_ended: {
    status: 403,
    title: 'The purpose has ended',
    detail: 'The purpose is past its end date.',
    fix: 'Ask the owner to extend `until`, or use another purpose.',
  },
  credential_not_in_purpose: {
    status: 403,
    title: 'The purpose does not cover that credential',
    detail: 'The credential is not one this purpose names, or more than one is and the request chose none.',
    fix: 'Send `credential` with one of the names the purpose lists.',
  },
  task_required: {
    status: 403,
    title: 'The purpose asks for a task',
    detail: 'Credentials of this purpose hang on a task, and the request names none.',
    fix: 'Open a task with `POST /v1/tasks` and send its id as `task`; or let `writ exec --intent TEXT` open and end one.',
  },
  condition_failed: {
    status: 403,
    title: 'A condition of the purpose is not met',
    detail: 'The purpose has a condition that this token and request do not meet.',
    fix: '`writ policy explain` shows which part of the condition failed and against what.',
  },
  guardrail_denied: {
    status: 403,
    title: 'An organisation-wide rule forbids this',
    detail: 'A guardrail that applies to this credential refuses the request.',
    fix: 'Change the request to fit the guardrail, or ask for a time-boxed Exception.',
  },
  review_overdue: {
    status: 403,
    title: 'The review of this purpose is overdue',
    detail: 'The owner has not attested this purpose for too long.',
    fix: 'Ask the owner to review the purpose; access returns with the attestation.',
  },
  approval_denied: {
    status: 403,
    title: 'The approval was refused',
    detail: 'The approval is denied, expired, spent or for a different request.',
    fix: 'Send the request again without `approval` to ask anew.',
  },
  issuance_held: {
    status: 403,
    title: 'Issuance is held',
    detail:
      'Everything that matches this request was ordered to be revoked, and nothing is issued or renewed until the hold ends.',
    fix: 'Ask the operators: `writ revocations` shows the order, why it was given and until when it holds.',
  },
  exception_expired: {
    status: 403,
    title: 'The exception has ended',
    detail: 'This access rests on an Exception that has passed its end date.',
    fix: 'Remove the deviation, or have a new Exception approved.',
  },
  account_disabled: {
    status: 403,
    title: 'The account is disabled',
    detail: 'A signal from its identity provider says that the account behind this token is disabled.',
    fix: 'Have the identity provider enable the account; access returns with its signal.',
  },
  role_required: {
    status: 403,
    title: 'Your team does not have this role',
    detail: 'The caller is known but may not do this.',
    fix: 'Ask a member of a team with the role (owner, auditor or operator).',
  },
  not_found: {
    status: 404,
    title: 'There is nothing here',
    detail: 'No such thing, or not one the caller may see.',
    fix: 'Check the identifier.',
  },
  method_not_allowed: {
    status: 405,
    title: 'The method is not allowed here',
    detail: 'This path exists, but not for this method.',
    fix: 'Use one of the methods in the `Allow` header.',
  },
  state_conflict: {
    status: 409,
    title: 'That is not possible in its present state',
    detail: 'The thing has moved on since.',
    fix: 'Read it again and decide anew.',
  },
  too_large: {
    status: 413,
    title: 'The request is too large',
    detail: 'The body or a header is larger than the broker reads.',
    fix: 'Send at most 64 KiB of body and 16 KiB of token.',
  },
  media_type: {
    status: 415,
    title: 'The media type is not supported',
    detail: 'Bodies are JSON.',
    fix: 'Send `Content-Type: application/json`.',
  },
  limit_reached: {
    status: 429,
    title: 'A limit is reached',
    detail: 'The purpose or the task has reached its limit of live credentials or of requests per minute.',
    fix: 'Hand credentials back, or wait as `Retry-After` says.',
  },
  internal: {
    status: 500,
    title: 'The broker failed',
    detail: 'Something went wrong inside the broker; nothing was issued.',
    fix: 'Quote the request id to the operators.',
  },
  engine_refused: {
    status: 502,
    title: 'Vault refused to mint',
    detail: 'Vault answered, and said no.',
    fix: 'Operators: the log line with this request id names the path and the Vault policy that is missing.',
  },
  vault_unavailable: {
    status: 503,
    title: 'Vault cannot be reached',
    detail: 'Vault is down, sealed or too slow.',
    fix: 'Try again as `Retry-After` says.',
  },
  ledger_unavailable: {
    status: 503,
    title: 'The ledger cannot be written',
    detail: 'Without a durable record no credential is issued.',
    fix: 'Try again later; operators: look at the disk of the ledger.',
  },
  receipt_pending: {
    status: 503,
    title: 'The receipt is not ready yet',
    detail: 'The entry is on record, and no signed checkpoint covers it yet.',
    fix: 'Try again as `Retry-After` says; checkpoints are signed several times a second while the ledger is well.',
  },
  state_unavailable: {
    status: 503,
    title: 'What the decision needs cannot be reached',
    detail: 'The keys of the issuer of this token, or the state that limits and replay are counted in, are away.',
    fix: 'Try again as `Retry-After` says; `/readyz` names what is away.',
  },
  draining: {
    status: 503,
    title: 'The broker is shutting down or full',
    detail: 'This replica takes no more work now.',
    fix: 'Try again as `Retry-After` says; another replica may answer.',
  },
} as const satisfies Record<string, CodeText>

/** A stable public code; its status, meaning and remedy stand at `/docs`. */
export type Code = keyof typeof table

/** The text and status of every code. */
export const codes: Readonly<Record<Code, CodeText>> = table
