import type { Broker } from '../../broker.ts'
import { revocationReportFilterSchema, revocationReportSchema } from '../../contract/report.ts'
import { bearerRoute, type Route } from '../route.ts'

/** What the record comes to. */
export const reportRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/reports/revocation',
    tag: 'reports',
    summary: 'How fast secrets really ended, by engine and cause',
    query: revocationReportFilterSchema,
    bulk: true,
    answers: [{ status: 200, description: 'The report; owners see their own', content: revocationReportSchema }],
    codes: ['role_required'],
    handle: ({ caller, query }) => broker.revocationReport(caller, query),
  }),
]
