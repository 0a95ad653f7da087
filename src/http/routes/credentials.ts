import type { GrantId } from '../../base/ids.ts'
import type { Broker, Issued } from '../../broker.ts'
import { credentialRequestSchema, issuedCredentialSchema, pendingApprovalSchema } from '../../contract/credential.ts'
import { decisionCodes, issuanceCodes } from '../answers.ts'
import { jsonReply, type Reply } from '../reply.ts'
import { bearerRoute, type Route } from '../route.ts'

/** `POST /v1/credentials`: the one route whose answer holds a secret. */
export const credentialRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'post',
    path: '/v1/credentials',
    tag: 'credentials',
    summary: 'Ask for a credential for a purpose',
    body: credentialRequestSchema,
    answers: [
      { status: 201, description: 'The credential; its only appearance', content: issuedCredentialSchema },
      { status: 202, description: 'A person must say yes first', content: pendingApprovalSchema },
    ],
    codes: [...decisionCodes, ...issuanceCodes],
    idempotent: true,
    handle: ({ caller, body, idempotencyKey }) => broker.issue(caller, body, idempotencyKey),
    write: (value) => (value.status === 'issued' ? writeIssued(value) : jsonReply(202, value.body)),
  }),
]

// The one place where a secret is revealed for a response.
function writeIssued({ body, secret }: Issued): Reply {
  const { ledger, ...known } = body
  // The contract's schema types the id as text; the broker made it.
  return { ...jsonReply(201, { ...known, secret: secret.reveal(), ledger }), carries: body.grant as GrantId }
}
