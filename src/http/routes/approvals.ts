import { ok } from '../../base/result.ts'
import type { Broker } from '../../broker.ts'
import { approvalListSchema, approvalSchema, verdictRequestSchema } from '../../contract/approval.ts'
import { bearerRoute, type Route } from '../route.ts'

/** Requests that wait for a person, and the person's verdict. */
export const approvalRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/approvals',
    tag: 'approvals',
    summary: 'List the approvals the caller may decide or has asked for',
    answers: [{ status: 200, description: 'The approvals', content: approvalListSchema }],
    codes: ['workload_unknown', 'workload_ambiguous'],
    async handle({ caller }) {
      const found = await broker.approvals(caller)
      return found.ok ? ok({ approvals: found.value }) : found
    },
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/approvals/{id}',
    tag: 'approvals',
    summary: 'Read one approval; the place to poll',
    id: 'approval',
    answers: [{ status: 200, description: 'The approval', content: approvalSchema }],
    codes: ['workload_unknown', 'workload_ambiguous', 'not_found'],
    handle: ({ caller, id }) => broker.approval(caller, id),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/approvals/{id}/approve',
    tag: 'approvals',
    summary: 'Say yes',
    id: 'approval',
    body: verdictRequestSchema,
    answers: [{ status: 200, description: 'The approval after the verdict', content: approvalSchema }],
    codes: ['role_required', 'not_found', 'state_conflict'],
    handle: ({ caller, id, body }) => broker.approve(caller, id, body.reason),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/approvals/{id}/deny',
    tag: 'approvals',
    summary: 'Say no',
    id: 'approval',
    body: verdictRequestSchema,
    answers: [{ status: 200, description: 'The approval after the verdict', content: approvalSchema }],
    codes: ['role_required', 'not_found', 'state_conflict'],
    handle: ({ caller, id, body }) => broker.denyApproval(caller, id, body.reason),
  }),
]
