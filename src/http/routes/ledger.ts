import type { Broker } from '../../broker.ts'
import {
  archivedSchema,
  archiveRequestSchema,
  entryFilterSchema,
  entryListSchema,
  storedEntrySchema,
} from '../../contract/ledger.ts'
import { bearerRoute, type Route } from '../route.ts'

/** The record, as far as the caller may read it. */
export const ledgerRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/ledger/entries',
    tag: 'ledger',
    summary: 'Search the ledger',
    query: entryFilterSchema,
    answers: [{ status: 200, description: 'One page of entries, oldest or newest first', content: entryListSchema }],
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
  bearerRoute({
    method: 'get',
    path: '/v1/ledger/entries/{index}/receipt',
    tag: 'ledger',
    summary: 'Fetch the receipt of an entry: its offline proof; also for the workload that holds the grant it is about',
    id: 'index',
    answers: [{ status: 200, description: 'The proof in the form of C2SP tlog-proof', content: 'text/plain' }],
    codes: ['not_found', 'receipt_pending'],
    handle: ({ caller, id }) => broker.receipt(caller, id),
    write: (receipt) => ({ status: 200, type: 'text/plain; charset=utf-8', body: receipt }),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/ledger/archive',
    tag: 'ledger',
    summary: 'Move old entries to the archive of the ledger, on record; they stay readable. For operators',
    bulk: true,
    body: archiveRequestSchema,
    answers: [{ status: 200, description: 'What was moved, when all of it has been', content: archivedSchema }],
    codes: ['request_invalid', 'role_required', 'state_conflict', 'ledger_unavailable'],
    handle: ({ caller, body }) => broker.archive(caller, body),
  }),
]
