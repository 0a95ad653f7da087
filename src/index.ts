/**
 * What a program that talks to a broker may rely on: the shapes on the wire as zod schemas with their types, and the table of
 * codes. Nothing here does anything by itself.
 * @packageDocumentation
 */
export { type Code, type CodeText, codes } from './base/codes.ts'
export {
  type ApprovalView,
  approvalListSchema,
  approvalSchema,
  verdictRequestSchema,
} from './contract/approval.ts'
export {
  type CredentialRequest,
  credentialRequestSchema,
  type IssuedCredential,
  type IssuedSet,
  issuedCredentialSchema,
  issuedSetSchema,
  type PendingApproval,
  pendingApprovalSchema,
} from './contract/credential.ts'
export {
  type EndedGrant,
  endedGrantSchema,
  type GrantFilter,
  type GrantList,
  type GrantView,
  grantFilterSchema,
  grantListSchema,
  grantSchema,
  type Renewed,
  renewedSchema,
  renewRequestSchema,
  revokeRequestSchema,
} from './contract/grant.ts'
export {
  type EntryFilter,
  type EntryList,
  entryFilterSchema,
  entryListSchema,
  type StoredEntryView,
  storedEntrySchema,
} from './contract/ledger.ts'
export { type Problem, problemSchema } from './contract/problem.ts'
export {
  type RevocationList,
  type RevocationPreview,
  type RevocationRequest,
  type RevocationResult,
  type RevocationView,
  revocationListSchema,
  revocationPreviewSchema,
  revocationRequestSchema,
  revocationResultSchema,
  revocationSchema,
} from './contract/revocation.ts'
export {
  type EndedTask,
  endedTaskSchema,
  endTaskRequestSchema,
  type TaskRequest,
  type TaskView,
  taskRequestSchema,
  taskSchema,
} from './contract/task.ts'
