import { sha256Hex } from '../base/digest.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { State } from '../state/state.ts'
import type { Identity } from './identity.ts'

/**
 * Takes the one use that the Issuer allows a token: of `iss` and `jti` under `once`; of `iss`, `jti` and purpose under
 * `once_per_purpose`, where a request without a purpose takes none. The claim is atomic across replicas and is
 * remembered until no clock accepts the token any more.
 *
 * Refuses `token_replayed`. @throws BrokerFault `state_unavailable`
 */
export async function claimUse(
  state: Pick<State, 'claim'>,
  identity: Identity,
  scope: { readonly purpose?: string },
): Promise<Result<void>> {
  const key = useKey(identity, scope.purpose)
  if (key === undefined) return ok(undefined)
  if (await state.claim(key, identity.usableUntilMs)) return ok(undefined)
  return refuse('token_replayed', 'replay', `the Issuer says replay: ${identity.replay}, and the token was used before`)
}

// Hashed over JSON, so that no purpose and no `jti` can be chosen to collide with another pair.
function useKey(identity: Identity, purpose: string | undefined): string | undefined {
  switch (identity.replay) {
    case 'allow':
      return undefined
    case 'once':
      return `token:${sha256Hex(JSON.stringify([identity.issuerUrl, identity.jti ?? null]))}`
    case 'once_per_purpose':
      if (purpose === undefined) return undefined
      return `token:${sha256Hex(JSON.stringify([identity.issuerUrl, identity.jti ?? null, purpose]))}`
  }
}
