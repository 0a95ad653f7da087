import { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import type { Secret } from '../base/secret.ts'
import type { VaultResponse } from './envelope.ts'
import { policyLine, VaultFault } from './faults.ts'

/** Calls Vault with exactly this token (or none) and without retries. */
export type RawWrite = (path: string, data: object, token: Secret<string> | undefined) => Promise<VaultResponse>
export type RawRead = (path: string, token: Secret<string>) => Promise<VaultResponse>

/**
 * One token of the broker, from its login until the last lease that was made under it has ended: Vault ends those leases
 * together with the token.
 */
export interface Generation {
  /** Counts logins; grants record it. */
  readonly number: number
  readonly token: Secret<string>
  /** Who the broker was to Vault; see `Proof.by`. */
  readonly by: string
  /** Handed to the broker and not made for it, so not the broker's to revoke. */
  readonly given: boolean
  readonly bornAtMs: number
  /** When a later generation took over; absent for the one that mints. */
  readonly supersededAtMs: number | undefined
  readonly life: Life
}

/** How long a token lives. Instants are ms since the epoch, `Infinity` for what never comes. */
export interface Life {
  /** What a full renewal gives; 0 for a token that never ends. */
  readonly fullTtlSeconds: number
  readonly renewable: boolean
  /** When it ends unless it is renewed. */
  readonly expiresAtMs: number
  /** The last moment that renewals can reach. */
  readonly endsAtMs: number
}

/** Where generations are kept over a restart. Neither verb may lose the broker its session: failures are told and survived. */
export interface GenerationStore {
  /** Oldest first; none when there are none that can be read. */
  load(): Promise<readonly Generation[]>
  save(generations: readonly Generation[]): Promise<void>
}

const selfSchema = z.object({
  type: z.string().default('service'),
  ttl: z.number().nonnegative().default(0),
  creation_ttl: z.number().nonnegative().default(0),
  period: z.number().nonnegative().default(0),
  explicit_max_ttl: z.number().nonnegative().default(0),
  creation_time: z.number().default(0),
  expire_time: z.iso.datetime({ offset: true }).nullish(),
  num_uses: z.number().default(0),
  renewable: z.boolean().default(false),
})

const longerThanAnySeconds = 10 * 365 * 86_400

/**
 * What Vault says of a token's life. The greatest life that its login's role allows is told nowhere; asking for a renewal that
 * is too long makes Vault answer with all there is, and a second one puts the usual life back.
 * @throws VaultFault `not_logged_in` for a token that the broker cannot work with, and whatever Vault answered
 */
export async function measureLife(
  token: Secret<string>,
  { read, write, clock }: { readonly read: RawRead; readonly write: RawWrite; readonly clock: Clock },
): Promise<Life> {
  const nowMs = clock.now()
  const parsed = selfSchema.safeParse((await look(read, token)).data ?? {})
  if (!parsed.success) {
    throw new VaultFault('unreadable', 'GET auth/token/lookup-self: the answer does not describe a token')
  }
  const self = parsed.data
  if (self.type === 'batch') throw new VaultFault('not_logged_in', batchRefusal)
  if (self.num_uses > 0) throw new VaultFault('not_logged_in', usesRefusal)
  if (self.ttl === 0) return { fullTtlSeconds: 0, renewable: false, ...lasting(Number.POSITIVE_INFINITY) }

  const fullTtlSeconds = self.period > 0 ? self.period : Math.max(self.ttl, self.creation_ttl)
  const life = { fullTtlSeconds, renewable: self.renewable }
  const expiresAtMs = nowMs + self.ttl * 1000
  if (!self.renewable) return { ...life, ...lasting(expiresAtMs) }
  if (self.period > 0) {
    if (self.explicit_max_ttl === 0) return { ...life, expiresAtMs, endsAtMs: Number.POSITIVE_INFINITY }
    // By Vault's own clock, whatever ours says.
    const vaultNowMs = Date.parse(self.expire_time ?? '') - self.ttl * 1000
    const leftMs = (self.creation_time + self.explicit_max_ttl) * 1000 - vaultNowMs
    return { ...life, expiresAtMs, endsAtMs: nowMs + (Number.isFinite(leftMs) ? leftMs : self.ttl * 1000) }
  }
  const renewed = async (increment: number): Promise<number> =>
    (await write('auth/token/renew-self', { increment }, token)).auth?.lease_duration ?? 0
  const wholeSeconds = await renewed(longerThanAnySeconds)
  const ttlSeconds = await renewed(fullTtlSeconds)
  return { ...life, expiresAtMs: nowMs + ttlSeconds * 1000, endsAtMs: nowMs + wholeSeconds * 1000 }
}

async function look(read: RawRead, token: Secret<string>): Promise<VaultResponse> {
  try {
    return await read(lookUpSelf, token)
  } catch (thrown) {
    // Vault answers the same for both.
    if (!(thrown instanceof VaultFault) || thrown.kind !== 'denied') throw thrown
    const line = policyLine(lookUpSelf, ['read'])
    throw new VaultFault(
      'denied',
      `Vault refuses the token of the broker: it has ended, or its policy lacks: ${line}`,
      {
        status: thrown.status,
        errorClass: thrown.errorClass,
      },
    )
  }
}

const lookUpSelf = 'auth/token/lookup-self'

const lasting = (endMs: number): Pick<Life, 'expiresAtMs' | 'endsAtMs'> => ({ expiresAtMs: endMs, endsAtMs: endMs })

const batchRefusal =
  'Vault gave a batch token: it cannot be renewed or revoked, and the leases made under it end with it and cannot be kept; ' +
  'give the broker a service token (token_type=service)'

const usesRefusal =
  'Vault gave a token for a limited number of calls: it and all leases made under it end with the last of them; ' +
  'give the broker a token without such a limit (token_num_uses=0)'
