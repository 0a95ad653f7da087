import type { Broker } from '../../broker.ts'
import { traceFilterSchema, traceSchema } from '../../contract/trace.ts'
import { bearerRoute, type Route } from '../route.ts'

/** From what was found in a leak to whoever answers for it. */
export const traceRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/trace',
    tag: 'ledger',
    summary: 'Who had it, why, on whose authority, what it reached, and when it ends',
    query: traceFilterSchema,
    answers: [{ status: 200, description: 'The grants it leads to; owners see their own', content: traceSchema }],
    codes: ['role_required'],
    handle: ({ caller, query }) => broker.trace(caller, query.q),
  }),
]
