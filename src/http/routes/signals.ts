import { codes } from '../../base/codes.ts'
import type { Refusal } from '../../base/result.ts'
import { ok } from '../../base/result.ts'
import type { Broker } from '../../broker.ts'
import { type SetError, setErrorSchema, setMediaType, signalPath } from '../../contract/signal.ts'
import { readBytes } from '../middleware/body.ts'
import { jsonReply, type Reply } from '../reply.ts'
import type { Incoming, Route } from '../route.ts'

/**
 * Where issuers push security event tokens (RFC 8935). This one route answers refusals in the format of that RFC and not as RFC 9457
 * problems, because that is what transmitters read; what failed inside (503, 500) is a problem as everywhere.
 */
export const signalRoutes = (broker: Broker): readonly Route[] => [
  {
    method: 'post',
    path: signalPath,
    tag: 'signals',
    summary: `Push one security event token (RFC 8935, \`${setMediaType}\`); its signature is the sender's proof`,
    access: 'open',
    takes: setMediaType,
    answers: [
      { status: 202, description: 'The signal is on record and in force' },
      { status: 400, description: 'The signal is refused; nothing was done', content: setErrorSchema },
    ],
    codes: ['state_unavailable'],
    async answer(incoming) {
      const text = await readSet(incoming)
      const received = text.ok ? await broker.receiveSignal(text.value, incoming.requestId) : text
      if (received.ok) return ok(accepted)
      return codes[received.refusal.code].status >= 500 ? received : ok(refusalReply(received.refusal))
    },
  },
]

const accepted: Reply = { status: 202, type: 'text/plain', body: '' }
// The language of the description must be named (RFC 8935 section 2.3).
const refusalReply = (refusal: Refusal): Reply => ({
  ...jsonReply(400, setErrorOf(refusal)),
  headers: { 'content-language': 'en' },
})

async function readSet(incoming: Incoming) {
  const type = incoming.header('content-type')?.split(';', 1)[0]?.trim().toLowerCase()
  const bytes = await readBytes(incoming, incoming.limits, incoming.clock)
  if (!bytes.ok) return bytes
  if (type !== setMediaType) return { ok: false, refusal: { code: 'media_type', reasons: [] } } as const
  // Anything but ASCII is no base64url, so a lossy reading refuses all the more.
  return ok(Buffer.from(bytes.value).toString('latin1'))
}

const descriptions: Readonly<Record<SetError['err'], string>> = {
  invalid_request:
    'It is no security event token that is read here, it is too old or too large, or it was received before.',
  invalid_key: 'It is signed with a key that the issuer does not publish.',
  invalid_issuer: 'No issuer of that name may send signals here.',
  invalid_audience: 'It is meant for somebody else.',
  authentication_failed: 'It is unsigned, or its signature does not hold.',
  access_denied: 'The issuer may not send this event, or not about that subject.',
}

/** RFC 8935 section 2.4. Which check failed and against what is for the ledger, not for a stranger. */
function setErrorOf(refusal: Refusal): SetError {
  const err = errOf(refusal)
  return { err, description: descriptions[err] }
}

function errOf({ code, reasons }: Refusal): SetError['err'] {
  switch (code) {
    case 'issuer_unknown':
      return 'invalid_issuer'
    case 'audience_mismatch':
      return 'invalid_audience'
    case 'role_required':
      return 'access_denied'
    case 'token_invalid': {
      const rule = reasons.at(-1)?.rule
      if (rule === 'key') return 'invalid_key'
      return rule === 'signature' || rule === 'algorithm' ? 'authentication_failed' : 'invalid_request'
    }
    default:
      return 'invalid_request'
  }
}
