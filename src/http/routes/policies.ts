import { z } from 'zod'
import type { Broker } from '../../broker.ts'
import { policyStatusSchema } from '../../contract/policy.ts'
import { bearerRoute, type Route } from '../route.ts'

/** The policy set in force. */
export const policyRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'post',
    path: '/v1/policies/reload',
    tag: 'policies',
    summary: 'Read the policies anew; a set that is refused leaves the old one in force',
    body: z.strictObject({}),
    answers: [
      {
        status: 200,
        description: 'The set in force and, if the new one was refused, why',
        content: policyStatusSchema,
      },
    ],
    codes: ['role_required'],
    handle: ({ caller }) => broker.reloadPolicies(caller),
  }),
]
