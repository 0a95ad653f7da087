import { decodeJwt } from 'jose'
import { sha256Hex } from '../base/digest.ts'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { renderTemplate } from '../base/template.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, LeasedShape, LeaseHandle, Minted, MintOrder, MintTarget, PublicId } from './engine.ts'
import { AmbiguousMint, VaultFault } from './faults.ts'
import { orGiveUp } from './give-up.ts'
import { type FreshLease, fitLease } from './lease-life.ts'
import { leaseNeeds } from './leased-user.ts'
import { refuseLongLife } from './life.ts'
import { vaultPath } from './target.ts'
import type { Answered, CallOptions } from './vault-session.ts'

/** Engines that differ in their Credential documents alone: those say how to ask Vault and what it answers. */
export const leasedKinds = ['leased', 'kubernetes', 'ldap', 'aws', 'gcp', 'azure'] as const

/** Clouds and directories take their time to remove what they made. */
const revokeDeadlineMs = 30_000

/** One answer of Vault to a mint, and what to make of it. */
interface Minting {
  readonly order: MintOrder
  readonly shape: LeasedShape
  readonly path: string
  readonly startedMs: number
  readonly answer: Answered
  readonly handle: LeaseHandle | undefined
}

/**
 * Whatever Vault makes on one call and ties to a lease, or states the end of. Only the fields that the Credential names are handed
 * on; an answer without one of them, or a secret that outlives what was decided, is ended and handed to nobody.
 */
export function createLeasedEngine(deps: EngineDeps, kind: (typeof leasedKinds)[number]): Engine {
  const { session, leases, clock } = deps

  const revoke = (handle: LeaseHandle): Promise<void> => leases.revoke(handle, revokeDeadlineMs)

  async function mint(order: MintOrder): Promise<Minted> {
    const shape = shapeOf(order.target)
    const path = vaultPath(order.target.mount, order.target.role)
    const body = bodyOf(shape, order)
    const call = (options: CallOptions): Promise<Answered> =>
      shape.method === 'read' ? session.read(path, options) : session.write(path, body, options)
    if (order.delivery === 'wrapped') {
      if (!shape.revocable)
        throw refused(order.target, 'nobody could tell how long a secret lives that is wrapped and cannot be ended')
      return deps.mintWrapped({ order, leased: true, call })
    }
    const startedMs = clock.now()
    const answer = await call({ mints: true })
    const handle: LeaseHandle | undefined = answer.lease_id === '' ? undefined : { type: 'lease', id: answer.lease_id }
    if (answer.data == null || (shape.revocable && handle === undefined)) {
      throw new AmbiguousMint(new VaultFault('unreadable', `${verb(shape)} ${path}: the answer holds no leased secret`))
    }
    return orGiveUp(
      () => mintedFrom({ order, shape, path, startedMs, answer, handle }),
      async () => (handle !== undefined && shape.revocable ? revoke(handle) : undefined),
    )
  }

  async function mintedFrom(minting: Minting): Promise<Minted> {
    const { shape, answer, handle } = minting
    const fields = fieldsOf(minting)
    const publicIds = idOf(minting, fields)
    const expiresAtMs = await endOf(minting)
    return {
      secret: new Secret(fields),
      handle: handle !== undefined && shape.revocable ? new Secret(handle) : undefined,
      expiresAtMs,
      renewable: answer.renewable && shape.revocable && shape.expires === undefined,
      publicIds,
      generation: shape.revocable ? answer.generation : undefined,
    }
  }

  /** The earliest of what was decided, the end that the secret states, and that of its lease. */
  async function endOf(minting: Minting): Promise<number> {
    const { order, startedMs, handle } = minting
    const stated = statedEnd(minting)
    if (stated === undefined && handle === undefined)
      throw unfit(minting, 'nothing says when the secret ends: name the field in `response.expires`')
    const leased =
      handle === undefined
        ? Number.POSITIVE_INFINITY
        : await fitLease(leases, leaseOf(minting, handle), order.ttlSeconds)
    return Math.min(startedMs + order.ttlSeconds * 1000, stated ?? Number.POSITIVE_INFINITY, leased)
  }

  return {
    kind,
    revocable: (target) => shapeOf(target).revocable,
    acceptedParams: [],
    mint,
    renew: leases.renew,
    revoke,
    // A grant that outlived its Credential knows the path only, and that is enough.
    leases: async ({ mount, role, leased }: MintTarget) =>
      leased?.revocable === false ? undefined : leases.list(mount, role),
    lookUp: leases.lookUp,
    needs: (target, delivery) => {
      const shape = shapeOf(target)
      const path = `${target.mount}/${target.role}`
      const own = { path, capability: shape.method === 'read' ? 'read' : 'update' }
      return shape.revocable ? [own, ...leaseNeeds(path, delivery)] : [own]
    },
  }
}

/** Extending a lease that ends nothing would say that the secret lives longer than it does. */
const leaseOf = ({ shape, path, startedMs, answer }: Minting, handle: LeaseHandle): FreshLease => ({
  handle,
  what: `${verb(shape)} ${path}`,
  startedMs,
  seconds: answer.lease_duration,
  renewable: answer.renewable && shape.revocable,
})

const verb = ({ method }: LeasedShape): string => (method === 'read' ? 'GET' : 'POST')

const refused = ({ credential }: MintTarget, why: string): BrokerFault =>
  new BrokerFault('engine_refused', `Credential ${credential}: ${why}`)

const unfit = ({ shape, path }: Minting, why: string): BrokerFault =>
  new BrokerFault('engine_refused', `${verb(shape)} ${path}: ${why}`)

function shapeOf(target: MintTarget): LeasedShape {
  if (target.leased === undefined) throw refused(target, 'it does not say how Vault is asked')
  return target.leased
}

function bodyOf(shape: LeasedShape, { target, names, ttlSeconds }: MintOrder): Readonly<Record<string, unknown>> {
  const filled = Object.entries(target.params).map(([name, value]) => [
    name,
    typeof value === 'string'
      ? renderTemplate(value, names)
      : Array.isArray(value)
        ? value.map((text: string) => renderTemplate(text, names))
        : value,
  ])
  return {
    ...Object.fromEntries(filled),
    ...(shape.ttlParam !== undefined && { [shape.ttlParam]: `${ttlSeconds}s` }),
  }
}

const has = (data: Readonly<Record<string, unknown>>, field: string): boolean =>
  Object.hasOwn(data, field) && data[field] !== null && data[field] !== ''

/** @throws BrokerFault `engine_refused` when one is missing: the caller would run with half a secret */
function fieldsOf(minting: Minting): Readonly<Record<string, unknown>> {
  const { shape, answer } = minting
  const data = answer.data ?? {}
  const missing = shape.fields.filter((field) => !has(data, field))
  if (missing.length > 0)
    throw unfit(minting, `the answer has no field ${missing.join(', ')} that the Credential names`)
  const there = [...shape.fields, ...shape.optional.filter((field) => has(data, field))]
  return Object.fromEntries(there.map((field) => [field, data[field]]))
}

/** The public name of the secret, or the digest of a secret without one. */
function idOf(minting: Minting, fields: Readonly<Record<string, unknown>>): readonly PublicId[] {
  const { id } = minting.shape
  if (id === undefined) return []
  const parts = id.fields.map((field) => fields[field])
  if (!parts.every((part) => typeof part === 'string'))
    throw unfit(minting, `the answer has no text in ${id.fields.join(', ')} to know the secret by`)
  const value = parts.join('/')
  return [{ type: id.type, value: id.type === 'token_sha256' ? sha256Hex(value) : value }]
}

/**
 * When the secret says it ends; absent where the answer has no such field, as with clouds that make leases by configuration.
 * @throws BrokerFault `engine_refused` for an end that cannot be read, or is later than was decided
 */
function statedEnd(minting: Minting): number | undefined {
  const { shape, answer, order, path, startedMs } = minting
  if (shape.expires === undefined || !has(answer.data ?? {}, shape.expires.field)) return undefined
  const { field, as } = shape.expires
  const seconds = as === 'jwt' ? expOf(answer.data?.[field]) : Number(answer.data?.[field])
  if (seconds === undefined || !Number.isFinite(seconds) || seconds <= 0)
    throw unfit(minting, `nobody can tell from ${field} when the secret ends`)
  if (as !== 'seconds') {
    refuseLongLife(path, seconds * 1000, startedMs, order.ttlSeconds)
    return seconds * 1000
  }
  if (seconds > order.ttlSeconds)
    throw unfit(minting, `the secret outlives the ${order.ttlSeconds} s that were decided`)
  return startedMs + seconds * 1000
}

/** Read without a look at the signature: the token is Vault's word, and this is when it says that it ends. */
function expOf(token: unknown): number | undefined {
  try {
    return decodeJwt(String(token)).exp
  } catch {
    return undefined
  }
}
