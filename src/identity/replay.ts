import { parseDuration } from '../base/duration.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { Entry } from '../ledger/entry.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import type { State } from '../state/state.ts'
import { leewaySeconds } from './checks.ts'
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

// The fingerprint is a hash over `iss` and `jti`, of one length, so that no purpose can be chosen to collide with another pair.
function useKey(
  { replay, fingerprint }: Pick<Identity, 'replay' | 'fingerprint'>,
  purpose: string | undefined,
): string | undefined {
  switch (replay) {
    case 'allow':
      return undefined
    case 'once':
      return `token:${fingerprint}`
    case 'once_per_purpose':
      return purpose === undefined ? undefined : `token:${fingerprint} ${purpose}`
  }
}

/** How long a use is remembered over a restart where the Issuer sets no `max_life`. */
const rememberedSeconds = 86_400

/** A use that an entry tells of, and until when (ms since the epoch) some clock may accept its token again. */
export interface RecordedUse {
  readonly key: string
  readonly untilMs: number
}

/**
 * Finds in an entry the use it tells of, so that a restart does not make spent tokens good again: of each entry that names
 * its token, until no clock can accept that token any more. A use that left no entry (a look at a grant) is not among them.
 */
export function recordedUses(issuers: () => readonly IssuerPolicy[]): (entry: Entry) => RecordedUse | undefined {
  let known: readonly IssuerPolicy[] = []
  let strict: ReadonlyMap<string, IssuerPolicy> = new Map()
  return ({ actor, token: fingerprint, kind, purpose, time }) => {
    const now = issuers()
    if (now !== known) {
      known = now
      strict = new Map(now.filter(({ token }) => token.replay !== 'allow').map((issuer) => [issuer.name, issuer]))
    }
    const issuer = 'issuer' in actor ? strict.get(actor.issuer ?? '') : undefined
    if (issuer === undefined || fingerprint === undefined) return undefined
    const { replay, max_life } = issuer.token
    // Opening a task names a purpose, too, and takes no use of it.
    const spends = kind === 'grant.intent' || kind === 'approval.requested'
    const key = useKey({ replay, fingerprint }, spends ? purpose : undefined)
    const lifeSeconds = (max_life === undefined ? undefined : parseDuration(max_life)) ?? rememberedSeconds
    const untilMs = Date.parse(time) + (lifeSeconds + 2 * leewaySeconds(issuer)) * 1000
    return key === undefined ? undefined : { key, untilMs }
  }
}
