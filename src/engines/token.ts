import { z } from 'zod'
import { sha256Hex } from '../base/digest.ts'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, LeaseHandle, Minted, MintOrder, MintTarget } from './engine.ts'
import { AmbiguousMint, VaultFault } from './faults.ts'
import { orGiveUp } from './give-up.ts'
import { paramsOf, vaultPath } from './target.ts'
import type { Answered, CallOptions } from './vault-session.ts'

const revokeDeadlineMs = 10_000
const params = z.strictObject({ policies: z.array(z.string()).min(1), uses: z.int().min(1).optional() })
type Asked = z.infer<typeof params> & { readonly ttlSeconds: number }

/** What is compared with what was asked for. */
interface Made {
  /** All that the token may, whatever gave it. */
  readonly policies: readonly string[]
  readonly orphan: boolean
  readonly renewable: boolean
  readonly ttlSeconds: number
  readonly uses: number
}

/** A look-up by accessor lists what the identity of a token adds beside the policies of the token itself. */
const lookedUp = z
  .object({
    policies: z.array(z.string()),
    identity_policies: z.array(z.string()).nullish(),
    external_namespace_policies: z.record(z.string(), z.array(z.string())).nullish(),
    orphan: z.boolean(),
    renewable: z.boolean(),
    ttl: z.number().positive(),
    num_uses: z.number(),
  })
  .transform(
    (data): Made => ({
      policies: [
        ...data.policies,
        ...(data.identity_policies ?? []),
        ...Object.values(data.external_namespace_policies ?? {}).flat(),
      ],
      orphan: data.orphan,
      renewable: data.renewable,
      ttlSeconds: data.ttl,
      uses: data.num_uses,
    }),
  )

/**
 * Vault tokens limited to policies (`POST auth/token/create/role`): children of the broker's token, so that they end with it;
 * ended by accessor; never renewable, because whoever holds a renewable token can renew it without the broker. What Vault made is
 * compared with what was asked: its role, the identity of the broker's token and its namespace may each add to it.
 */
export function createTokenEngine(deps: EngineDeps): Engine {
  const { session, leases, clock } = deps

  const revoke = (handle: LeaseHandle): Promise<void> => leases.revoke(handle, revokeDeadlineMs)

  async function mint(order: MintOrder): Promise<Minted> {
    const asked = { ...paramsOf(params, order.target), ttlSeconds: order.ttlSeconds }
    const path = vaultPath(order.target.mount, 'create', order.target.role)
    const create = (options: CallOptions): Promise<Answered> => session.write(path, bodyOf(order, asked), options)
    return order.delivery === 'wrapped' ? mintWrapped(order, asked, path, create) : mintPlain(asked, path, create)
  }

  type Create = (options: CallOptions) => Promise<Answered>

  async function mintPlain(asked: Asked, path: string, create: Create): Promise<Minted> {
    const startedMs = clock.now()
    const { auth, generation } = await create({ mints: true })
    if (auth == null || auth.accessor === '') throw noToken(path)
    const handle: LeaseHandle = { type: 'accessor', id: auth.accessor }
    const { policies, orphan, renewable, lease_duration: ttlSeconds, num_uses: uses } = auth
    const made = { policies, orphan, renewable, ttlSeconds, uses }
    await orGiveUp(
      () => refuseOther(path, asked, made),
      () => revoke(handle),
    )
    return {
      secret: new Secret({ client_token: auth.client_token, policies, ...(uses > 0 && { num_uses: uses }) }),
      handle: new Secret(handle),
      expiresAtMs: startedMs + Math.min(ttlSeconds, asked.ttlSeconds) * 1000,
      renewable: false,
      publicIds: [{ type: 'token_sha256', value: sha256Hex(auth.client_token) }],
      generation,
    }
  }

  /** Vault says the accessor of a token that it wraps, so no further token is needed to end it. */
  async function mintWrapped(order: MintOrder, asked: Asked, path: string, create: Create): Promise<Minted> {
    let answered: Answered | undefined
    const call = async (options: CallOptions): Promise<Answered> => {
      answered = await create(options)
      return answered
    }
    const minted = await deps.mintWrapped({ order, leased: false, call })
    const accessor = answered?.wrap_info?.wrapped_accessor ?? ''
    if (accessor === '') throw noToken(path)
    const handle: LeaseHandle = { type: 'accessor', id: accessor }
    await orGiveUp(
      async () => refuseOther(path, asked, await lookUp(accessor)),
      () => revoke(handle),
    )
    return { ...minted, handle: new Secret(handle), generation: answered?.generation }
  }

  async function lookUp(accessor: string): Promise<Made> {
    const { data } = await session.write('auth/token/lookup-accessor', { accessor })
    const parsed = lookedUp.safeParse(data)
    if (parsed.success) return parsed.data
    throw new VaultFault('unreadable', 'POST auth/token/lookup-accessor: the answer does not describe a token')
  }

  return {
    kind: 'token',
    revocable: () => true,
    acceptedParams: [],
    mint,
    renew: leases.renew,
    revoke,
    // Vault lists accessors of all its tokens together, and by no role; see `docs/engines.md`.
    leases: async () => undefined,
    lookUp: leases.lookUp,
    needs: ({ mount, role }: MintTarget) =>
      [`${mount}/create/${role}`, `${mount}/lookup-accessor`, `${mount}/revoke-accessor`].map((path) => ({
        path,
        capability: 'update',
      })),
  }
}

function bodyOf(order: MintOrder, { policies, uses, ttlSeconds }: Asked): object {
  return {
    policies,
    ttl: `${ttlSeconds}s`,
    explicit_max_ttl: `${ttlSeconds}s`,
    renewable: false,
    type: 'service',
    // With this, Vault takes `default` away even where it was asked for by name.
    no_default_policy: !policies.includes('default'),
    display_name: order.grant,
    meta: { grant: order.grant, workload: order.names.workload, purpose: order.names.purpose },
    ...(uses !== undefined && { num_uses: uses }),
  }
}

const noToken = (path: string): AmbiguousMint =>
  new AmbiguousMint(new VaultFault('unreadable', `POST ${path}: the answer holds no token`))

/** @throws BrokerFault `engine_refused` for a token that may more, or lives longer, than was decided */
function refuseOther(path: string, asked: Asked, made: Made): void {
  const why = differenceOf(asked, made)
  if (why !== undefined) throw new BrokerFault('engine_refused', `POST ${path}: ${why}; the token is ended`)
}

function differenceOf(asked: Asked, made: Made): string | undefined {
  if (made.policies.some((policy) => !asked.policies.includes(policy)))
    return 'the token has policies that the Credential does not name: see the token role, and the identity (entity, groups) of the token of the broker'
  if (asked.policies.some((policy) => !made.policies.includes(policy)))
    return 'the token lacks policies that the Credential names'
  if (made.orphan) return 'the token would outlive the token of the broker: set orphan=false on the token role'
  if (made.renewable) return 'whoever holds the token could renew it'
  if (made.ttlSeconds < 1 || made.ttlSeconds > asked.ttlSeconds)
    return `the token does not end within the ${asked.ttlSeconds} s that were decided`
  // The token role may set a lower number, never none.
  if (asked.uses !== undefined && (made.uses < 1 || made.uses > asked.uses))
    return `the token is not limited to ${asked.uses} uses`
  return undefined
}
