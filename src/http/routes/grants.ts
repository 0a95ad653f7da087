import type { Broker } from '../../broker.ts'
import {
  endedGrantSchema,
  grantFilterSchema,
  grantListSchema,
  grantSchema,
  renewedSchema,
  renewRequestSchema,
  revokeRequestSchema,
} from '../../contract/grant.ts'
import { decisionCodes, issuanceCodes, workloadCodes } from '../answers.ts'
import { bearerRoute, type Route } from '../route.ts'

/** Grants as their holders, owners, operators and auditors see and end them. */
export const grantRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/grants',
    tag: 'grants',
    summary: 'List the grants the caller may see',
    query: grantFilterSchema,
    answers: [{ status: 200, description: 'One page of grants, oldest first', content: grantListSchema }],
    codes: ['workload_unknown', 'workload_ambiguous', 'role_required'],
    handle: ({ caller, query }) => broker.grants(caller, query),
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/grants/{id}',
    tag: 'grants',
    summary: 'Read one grant',
    id: 'grant',
    answers: [{ status: 200, description: 'The grant', content: grantSchema }],
    codes: ['workload_unknown', 'workload_ambiguous', 'not_found'],
    handle: ({ caller, id }) => broker.grant(caller, id),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/grants/{id}/renew',
    tag: 'grants',
    summary: 'Extend the life of a credential within its ceilings',
    id: 'grant',
    body: renewRequestSchema,
    answers: [{ status: 200, description: 'The new expiry', content: renewedSchema }],
    codes: [...decisionCodes, ...issuanceCodes],
    handle: ({ caller, id, body }) => broker.renew(caller, id, body.ttl),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/grants/{id}/revoke',
    tag: 'grants',
    summary: 'End a credential now',
    id: 'grant',
    body: revokeRequestSchema,
    answers: [{ status: 200, description: 'What ending it came to', content: endedGrantSchema }],
    // Vault has as long to end a secret as its engine allows, which is no less than a request has.
    bulk: true,
    urgent: true,
    codes: [...workloadCodes, 'role_required', ...issuanceCodes],
    handle: ({ caller, id, body }) => broker.revoke(caller, id, body.reason),
  }),
]
