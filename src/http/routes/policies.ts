import { z } from 'zod'
import type { Broker } from '../../broker.ts'
import { acceptRequestSchema, policyStatusSchema } from '../../contract/policy.ts'
import { bearerRoute, type Route } from '../route.ts'

/** The policy set in force. */
export const policyRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'get',
    path: '/v1/policies',
    tag: 'policies',
    summary: 'The policies in force, and what they would end that waits for an operator. For operators and auditors',
    answers: [{ status: 200, description: 'The set in force', content: policyStatusSchema }],
    codes: ['role_required'],
    handle: ({ caller }) => broker.policies(caller),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/policies/accept',
    tag: 'policies',
    summary: 'Let the policies in force end the grants that were held back, because they were many. For operators',
    body: acceptRequestSchema,
    bulk: true,
    answers: [
      { status: 200, description: 'The set in force; `ending` counts what is under way', content: policyStatusSchema },
    ],
    codes: ['role_required', 'state_conflict'],
    handle: ({ caller, body }) => broker.acceptPolicies(caller, body.digest),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/policies/reload',
    tag: 'policies',
    summary: 'Read the policies anew; a set that is refused leaves the old one in force',
    body: z.strictObject({}),
    bulk: true,
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
