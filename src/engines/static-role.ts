import { z } from 'zod'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { EngineDeps } from './deps.ts'
import type { Minted, MintOrder, MintTarget } from './engine.ts'
import { VaultFault } from './faults.ts'
import { paramsOf, vaultPath } from './target.ts'

const params = z.strictObject({ staticRole: z.literal(true) })

const standingUser = z.object({
  username: z.string().min(1).max(200),
  password: z.string().min(1),
  last_vault_rotation: z.iso.datetime({ offset: true }),
  /** Seconds until the next rotation. */
  ttl: z.number(),
  /** Seconds; absent where the role has a schedule instead. */
  rotation_period: z.number().positive().optional(),
})

/** Whether the target is a user that stands. No document can say so but by its key `static`: `params` take no capitals. */
export const isStaticRole = ({ params: { staticRole } }: MintTarget): boolean => staticRole === true

/** Where Vault gives the password of a static role. */
export const staticRolePath = ({ mount, role }: MintTarget): string => vaultPath(mount, 'static-creds', role)

/**
 * The user of a static role, with its password of now. There is no lease: the secret ends when Vault rotates the password.
 * One that would outlive what was decided is not handed out, because nothing could end it in time (invariant 8).
 * @throws BrokerFault `engine_refused` until when the password stands, and what to set
 */
export async function mintStaticUser({ session, clock }: EngineDeps, order: MintOrder): Promise<Minted> {
  paramsOf(params, order.target)
  const path = staticRolePath(order.target)
  if (order.delivery === 'wrapped') {
    throw new BrokerFault('engine_refused', `Credential ${order.target.credential}: ${plainOnly}`)
  }
  const parsed = standingUser.safeParse((await session.read(path)).data)
  if (!parsed.success) throw new VaultFault('unreadable', `GET ${path}: the answer holds no user of a static role`)
  const { username, password, ttl, last_vault_rotation, rotation_period } = parsed.data
  if (ttl < 1) {
    throw new BrokerFault('vault_unavailable', `GET ${path}: the password is about to be rotated`, {
      retryAfterSeconds: rotatingSeconds,
    })
  }
  const rotatesAtMs = clock.now() + ttl * 1000
  if (ttl > order.ttlSeconds) throw tooLong(path, order.ttlSeconds, rotatesAtMs, rotation_period ?? ttl)
  return {
    secret: new Secret({ username, password }),
    handle: undefined,
    expiresAtMs: rotatesAtMs,
    renewable: false,
    publicIds: [{ type: 'database_user', value: username }],
    rotation: { rotatedAtMs: Date.parse(last_vault_rotation), rotatesAtMs, everySeconds: rotation_period },
  }
}

/** OpenBao looks every five seconds for what is due. */
const rotatingSeconds = 5

const plainOnly = 'how long a static role stands is known from the answer alone, so it cannot be delivered wrapped'

function tooLong(path: string, ttlSeconds: number, rotatesAtMs: number, neededSeconds: number): BrokerFault {
  const until = new Date(rotatesAtMs).toISOString()
  return new BrokerFault(
    'engine_refused',
    `GET ${path}: the password stands until ${until}, longer than the ${ttlSeconds} s that were decided; ` +
      `let \`ttl\` of the Credential and the purpose, and of the request, be at least the rotation period (${Math.ceil(neededSeconds)} s)`,
  )
}
