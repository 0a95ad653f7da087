import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { LeaseHandle, Minted, MintOrder, PublicId } from './engine.ts'
import type { WrapInfo } from './envelope.ts'
import { AmbiguousMint, VaultFault } from './faults.ts'
import type { CallOptions, VaultSession } from './vault-session.ts'

/** Name of the Vault policy that tokens made for one wrapped secret carry, unless the operator names another. */
export const defaultWrapPolicy = 'writ-wrapped'

// Long enough for a slow start of the caller, short enough that a response nobody fetched does not lie around.
const longestWrapSeconds = 300

/** The call that mints, under whatever options the delivery adds. */
type MintCall = (options: CallOptions) => Promise<{ readonly wrap_info?: WrapInfo | null | undefined }>

interface WrappedMint {
  readonly order: MintOrder
  readonly call: MintCall
  /** Identifiers the broker knows because it chose them. */
  readonly publicIds?: readonly PublicId[]
  /** Whether the secret hangs on a lease, so that ending the token that made it ends the secret. */
  readonly leased: boolean
}

/** Mints behind a response-wrapping token: the secret is in Vault and then with the caller, never in this process. */
export type MintWrapped = (mint: WrappedMint) => Promise<Minted>

/**
 * A wrapped response hides its lease id. A leased secret is therefore minted with a child token made for this one grant
 * that lives exactly as long: its accessor is the handle, and Vault ends token and lease together even if the broker is gone.
 */
export function createMintWrapped(session: VaultSession, clock: Clock, wrapPolicy: string): MintWrapped {
  async function createChild(
    order: MintOrder,
  ): Promise<{ token: Secret<string>; accessor: string; generation: number | undefined }> {
    const { auth, generation } = await session.write('auth/token/create', {
      policies: [wrapPolicy],
      ttl: `${order.ttlSeconds}s`,
      explicit_max_ttl: `${order.ttlSeconds}s`,
      renewable: false,
      no_default_policy: true,
      type: 'service',
      display_name: order.grant,
      meta: { grant: order.grant, workload: order.names.workload, purpose: order.names.purpose },
    })
    if (auth == null || auth.accessor === '') {
      throw new VaultFault('unreadable', 'POST auth/token/create: the answer holds no token')
    }
    return { token: new Secret(auth.client_token), accessor: auth.accessor, generation }
  }

  async function revokeQuietly(accessor: string): Promise<void> {
    // Its ttl ends the child in any case.
    await session.write('auth/token/revoke-accessor', { accessor }).catch((thrown: unknown) => messageOf(thrown))
  }

  return async ({ order, call, publicIds = [], leased }) => {
    const startedMs = clock.now()
    const child = leased ? await createChild(order) : undefined
    const wrapTtlSeconds = Math.min(order.ttlSeconds, longestWrapSeconds)
    try {
      const options = {
        mints: true,
        wrapTtlSeconds,
        ...(child === undefined ? {} : { token: child.token, tokenPolicy: wrapPolicy }),
      }
      const { wrap_info: wrap } = await call(options)
      if (wrap == null) {
        throw new AmbiguousMint(new VaultFault('unreadable', 'Vault answered without wrapping the response'))
      }
      // The accessor of a token inside is the broker's handle on it.
      const { wrapped_accessor: _, ...handed } = wrap
      return {
        secret: new Secret(handed),
        handle: child === undefined ? undefined : new Secret<LeaseHandle>({ type: 'accessor', id: child.accessor }),
        expiresAtMs: startedMs + order.ttlSeconds * 1000,
        renewable: false,
        publicIds: [...publicIds, { type: 'wrapping_accessor', value: wrap.accessor }],
        generation: child?.generation,
      }
    } catch (thrown) {
      if (child !== undefined) await revokeQuietly(child.accessor)
      throw thrown
    }
  }
}
