import type { Clock } from '../../base/clock.ts'
import { type Backend, type Call, type Reply, VaultError } from './backend.ts'
import { text } from './fields.ts'
import type { Tokens } from './tokens.ts'

/** Response wrapping: a response waits behind a token of one use, and dies with it. */
export interface Wrapping {
  /** Stores the response and gives the `wrap_info` that stands in its place. */
  wrap(response: Readonly<Record<string, unknown>>, path: string, ttlSeconds: number): Readonly<Record<string, unknown>>
  readonly routes: Backend['routes']
}

interface Wrapped {
  readonly response: Readonly<Record<string, unknown>>
  readonly path: string
  readonly createdMs: number
  readonly ttlSeconds: number
}

const gone = (): VaultError => new VaultError(400, 'wrapping token is not valid or does not exist')

export function createWrapping(deps: { tokens: Tokens; clock: Clock }): Wrapping {
  const { tokens, clock } = deps
  const waiting = new Map<string, Wrapped>()
  tokens.onEnd((id) => void waiting.delete(id))

  const wrap: Wrapping['wrap'] = (response, path, ttlSeconds) => {
    const token = tokens.create({
      policies: ['response-wrapping'],
      displayName: '',
      path,
      ttlSeconds,
      explicitMaxSeconds: ttlSeconds,
      renewable: false,
      uses: 1,
    })
    waiting.set(token.id, { response, path, createdMs: clock.now(), ttlSeconds })
    const auth = response.auth as Readonly<Record<string, unknown>> | null | undefined
    return {
      token: token.id,
      accessor: token.accessor,
      ttl: ttlSeconds,
      creation_time: new Date(clock.now()).toISOString(),
      creation_path: path,
      ...(auth ? { wrapped_accessor: auth.accessor } : {}),
    }
  }

  const named = (call: Call): string => {
    const id = text(call.body.token)
    return id === '' ? (call.token?.id ?? '') : id
  }
  const unwrap = async (call: Call): Promise<Reply> => {
    const id = named(call)
    const wrapped = waiting.get(id)
    // Taken out before anything is awaited: of two callers at once, one gets it.
    waiting.delete(id)
    if (wrapped === undefined || call.token === undefined || tokens.find(id) === undefined) throw gone()
    await tokens.revoke(id)
    return { whole: wrapped.response }
  }

  return {
    wrap,
    routes: [
      // Open, because a wrapping token that is spent must be told so and not that permission is denied.
      { pattern: 'wrapping/unwrap', open: true, on: { update: unwrap } },
      {
        pattern: 'wrapping/lookup',
        open: true,
        on: {
          update: (call) => {
            const wrapped = waiting.get(named(call))
            if (wrapped === undefined) throw gone()
            return {
              data: {
                creation_path: wrapped.path,
                creation_time: new Date(wrapped.createdMs).toISOString(),
                creation_ttl: wrapped.ttlSeconds,
              },
            }
          },
        },
      },
      // The header asks for the wrapping; the route only hands its input back.
      {
        pattern: 'wrapping/wrap',
        on: {
          update: (call) => ({ data: call.body }),
        },
      },
    ],
  }
}
