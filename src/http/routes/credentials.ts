import type { GrantId } from '../../base/ids.ts'
import type { Broker, Issued, IssuedSet } from '../../broker.ts'
import { credentialRequestSchema, issuedSchema, pendingApprovalSchema } from '../../contract/credential.ts'
import { decisionCodes, issuanceCodes } from '../answers.ts'
import { jsonReply, type Reply } from '../reply.ts'
import { bearerRoute, type Route } from '../route.ts'

/** `POST /v1/credentials`: the one route whose answer holds a secret. */
export const credentialRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'post',
    path: '/v1/credentials',
    tag: 'credentials',
    summary: 'Ask for a credential for a purpose, or for several, all or nothing',
    body: credentialRequestSchema,
    answers: [
      { status: 201, description: 'The credential, or the set; their only appearance', content: issuedSchema },
      { status: 202, description: 'A person must say yes first', content: pendingApprovalSchema },
    ],
    codes: [...decisionCodes, ...issuanceCodes],
    idempotent: true,
    handle: ({ caller, body, idempotencyKey }) => broker.issue(caller, body, idempotencyKey),
    write(value) {
      if (value.status === 'pending') return jsonReply(202, value.body)
      return value.status === 'issued' ? writeIssued(value) : writeSet(value)
    },
  }),
]

const writeIssued = (issued: Issued): Reply => ({ ...jsonReply(201, revealed(issued)), carries: [grantOf(issued)] })

const writeSet = ({ composite, credentials }: IssuedSet): Reply => ({
  ...jsonReply(201, { composite, credentials: credentials.map(revealed) }),
  carries: credentials.map(grantOf),
})

// The contract's schema types the id as text; the broker made it.
const grantOf = ({ body }: Issued): GrantId => body.grant as GrantId

// The one place where a secret is revealed for a response.
function revealed({ body, secret }: Issued): object {
  const { ledger, ...known } = body
  return { ...known, secret: secret.reveal(), ledger }
}
