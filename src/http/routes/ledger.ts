import type { Broker } from '../../broker.ts'
import { entryFilterSchema, entryListSchema, storedEntrySchema } from '../../contract/ledger.ts'
import { bearerRoute, type Route } from '../route.ts'

/** The record, as far as the caller may read it. */
export const ledgerRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/ledger/entries',
    tag: 'ledger',
    summary: 'Search the ledger',
    query: entryFilterSchema,
    answers: [{ status: 200, description: 'One page of entries in the order of the record', content: entryListSchema }],
    codes: ['request_invalid', 'role_required'],
    handle: ({ caller, query }) => broker.entries(caller, query),
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/ledger/entries/{index}',
    tag: 'ledger',
    summary: 'Read one entry',
    id: 'index',
    answers: [{ status: 200, description: 'The entry as it was recorded', content: storedEntrySchema }],
    codes: ['role_required', 'not_found'],
    handle: ({ caller, id }) => broker.entry(caller, id),
  }),
]
