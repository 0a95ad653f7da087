import type { Broker } from '../../broker.ts'
import { reconcileRequestSchema, reconcileResultSchema, reconcileStatusSchema } from '../../contract/reconcile.ts'
import { bearerRoute, type Route } from '../route.ts'

/** What Vault holds, compared with the ledger. */
export const reconcileRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'post',
    path: '/v1/reconcile',
    tag: 'operation',
    summary: 'Compare the leases in Vault with the ledger now, and put right what differs. For operators',
    body: reconcileRequestSchema,
    bulk: true,
    answers: [
      { status: 200, description: 'What was found and done, when all of it is', content: reconcileResultSchema },
    ],
    codes: ['role_required', 'state_conflict'],
    handle: ({ caller, body }) => broker.reconcile(caller, body),
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/reconcile',
    tag: 'operation',
    summary: 'How far the round under way is, and what the last one came to. For operators',
    answers: [{ status: 200, description: 'The round under way, and the last one', content: reconcileStatusSchema }],
    codes: ['role_required'],
    handle: ({ caller }) => broker.reconcileStatus(caller),
  }),
]
