import { z } from 'zod'
import { ok } from '../../base/result.ts'
import type { TokenKeySet } from '../../engines/token-key-set.ts'
import { jsonReply } from '../reply.ts'
import { openRoute, type Route } from '../route.ts'

const keySetSchema = z.object({ keys: z.array(z.record(z.string(), z.unknown())) }).meta({ id: 'JwkSet' })

/** `/oauth2/jwks`: what a service needs to verify the access tokens that Credentials of the engine `transit` make. */
export const tokenKeyRoutes = (tokenKeys: TokenKeySet): readonly Route[] => [
  openRoute({
    method: 'get',
    path: '/oauth2/jwks',
    tag: 'access tokens',
    summary: 'Public keys of signed access tokens (RFC 7517)',
    answers: [{ status: 200, description: 'A JWK Set', content: keySetSchema }],
    codes: ['vault_unavailable', 'engine_refused'],
    handle: async () => ok(await tokenKeys.current()),
    write: (set) => {
      const reply = jsonReply(200, set)
      return { ...reply, type: 'application/jwk-set+json', headers: { 'cache-control': 'public, max-age=5' } }
    },
  }),
]
