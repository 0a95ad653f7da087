import type { Broker } from '../../broker.ts'
import {
  liftRequestSchema,
  revocationListSchema,
  revocationRequestSchema,
  revocationResultSchema,
  revocationSchema,
} from '../../contract/revocation.ts'
import { jsonReply } from '../reply.ts'
import { bearerRoute, type Route } from '../route.ts'

/** Orders to revoke everything that matches: the kill switch. */
export const revocationRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'post',
    path: '/v1/revocations',
    tag: 'revocations',
    summary: 'End every grant that matches, and issue none until that is done: the kill switch',
    body: revocationRequestSchema,
    bulk: true,
    urgent: true,
    answers: [
      { status: 200, description: 'Everything has ended, or what would end', content: revocationResultSchema },
      { status: 202, description: 'It is being carried out; read it at its own place', content: revocationSchema },
    ],
    codes: ['role_required', 'limit_reached'],
    handle: ({ caller, body }) => broker.revokeMatching(caller, body),
    write: (result) =>
      result.dry_run || result.status === 'completed'
        ? jsonReply(200, result)
        : { ...jsonReply(202, result), headers: { location: `/v1/revocations/${result.revocation}` } },
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/revocations',
    tag: 'revocations',
    summary: 'List the orders that are open, hold issuance, or were completed within the hour',
    urgent: true,
    answers: [{ status: 200, description: 'The orders, the newest first', content: revocationListSchema }],
    codes: [],
    handle: ({ caller }) => broker.revocations(caller),
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/revocations/{id}',
    tag: 'revocations',
    summary: 'Read how far an order has come',
    id: 'revocation',
    urgent: true,
    answers: [{ status: 200, description: 'The order', content: revocationSchema }],
    codes: ['not_found'],
    handle: ({ caller, id }) => broker.revocation(caller, id),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/revocations/{id}/lift',
    tag: 'revocations',
    summary: 'Let issuance go on before its time; the revocation goes on too',
    id: 'revocation',
    body: liftRequestSchema,
    urgent: true,
    answers: [{ status: 200, description: 'The order, which holds nothing any more', content: revocationSchema }],
    codes: ['role_required', 'not_found', 'state_conflict'],
    handle: ({ caller, id, body }) => broker.liftRevocation(caller, id, body.reason),
  }),
]
