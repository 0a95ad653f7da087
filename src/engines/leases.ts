import { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { LeaseHandle, LeaseState } from './engine.ts'
import { VaultFault } from './faults.ts'
import { vaultPath } from './target.ts'
import type { CallOptions, VaultSession } from './vault-session.ts'

/** What every engine does with the handles of its secrets. Lease ids and accessors travel in bodies, never in a path. */
export interface Leases {
  /** `leaseSeconds` is what Vault gave, which may be more than was asked for. */
  renew(
    handle: LeaseHandle,
    ttlSeconds: number,
  ): Promise<{ readonly expiresAtMs: number; readonly leaseSeconds: number }>
  /** `deadlineMs` is that of the engine: Vault answers when the target has really done it. Never queued behind mints. */
  revoke(handle: LeaseHandle, deadlineMs: number): Promise<void>
  /** Leases under the path that the parts make, such as `database/creds/orders-ro`. */
  list(...parts: readonly string[]): Promise<Iterable<Secret<LeaseHandle>>>
  lookUp(handle: LeaseHandle): Promise<LeaseState>
}

// Vault files the lease of a wrapping token under the path that was wrapped. It is not a lease of the role,
// and revoking it would take the secret from a caller who has not unwrapped it yet.
const wrappingTokenLease = /^h[0-9a-f]{64}(\.|$)/

/**
 * Neither Vault nor OpenBao (up to 2.6) can list leases page by page, so a list is one answer: at most so long, which is some
 * 600,000 leases, and it may take so long.
 */
const longestList = { maxBytes: 16 * 1024 * 1024, deadlineMs: 60_000 }

const leaseLookup = z.object({ issue_time: z.iso.datetime({ offset: true }) })
const accessorLookup = z.object({ creation_time: z.number().positive() })
const certificateLookup = z.object({ revocation_time: z.number().nonnegative() })

const revokedCertificate = z.object({ revocation_time: z.number().positive() })

const ended: LeaseState = { live: false, endedAtMs: undefined }

export function createLeases(session: VaultSession, clock: Clock): Leases {
  async function revokeCertificate(mount: string, serial: string, options: CallOptions): Promise<void> {
    const { data } = await session.write(vaultPath(mount, 'revoke'), { serial_number: serial }, options)
    // An expired certificate is answered with a warning and no time: it has ended already.
    if (data == null) return
    if (!revokedCertificate.safeParse(data).success) {
      throw new VaultFault(
        'unreadable',
        `POST ${mount}/revoke: the answer does not say that the certificate is revoked`,
      )
    }
  }

  async function lookUpLease(id: string): Promise<LeaseState> {
    const { data } = await session.write('sys/leases/lookup', { lease_id: id })
    const parsed = leaseLookup.safeParse(data)
    if (!parsed.success) throw new VaultFault('unreadable', 'POST sys/leases/lookup: the answer says no issue time')
    return { live: true, issuedAtMs: Date.parse(parsed.data.issue_time) }
  }

  async function lookUpToken(accessor: string): Promise<LeaseState> {
    const { data } = await session.write('auth/token/lookup-accessor', { accessor })
    const parsed = accessorLookup.safeParse(data)
    if (!parsed.success)
      throw new VaultFault('unreadable', 'POST auth/token/lookup-accessor: the answer says no creation time')
    return { live: true, issuedAtMs: parsed.data.creation_time * 1000 }
  }

  /** A certificate that Vault no longer stores is valid all the same: only a revocation ends it. */
  async function lookUpCertificate(mount: string, serial: string): Promise<LeaseState> {
    const path = vaultPath(mount, 'cert', serial.replaceAll(':', '-'))
    const { data } = await session.read(path).catch((thrown: unknown) => {
      if (thrown instanceof VaultFault && thrown.status === 404) return { data: { revocation_time: 0 } }
      throw thrown
    })
    const parsed = certificateLookup.safeParse(data)
    if (!parsed.success)
      throw new VaultFault('unreadable', `GET ${mount}/cert: the answer does not say if it is revoked`)
    const { revocation_time: seconds } = parsed.data
    return seconds > 0 ? { live: false, endedAtMs: seconds * 1000 } : { live: true, issuedAtMs: undefined }
  }

  return {
    async renew(handle, ttlSeconds) {
      if (handle.type !== 'lease')
        throw new BrokerFault('engine_refused', `a secret behind ${handle.type} is not renewable`)
      const startedMs = clock.now()
      const { lease_duration: leaseSeconds } = await session.write('sys/leases/renew', {
        lease_id: handle.id,
        increment: ttlSeconds,
      })
      return { expiresAtMs: startedMs + Math.min(leaseSeconds, ttlSeconds) * 1000, leaseSeconds }
    },

    async revoke(handle, deadlineMs) {
      const options = { deadlineMs, urgent: true }
      try {
        // `sync` makes Vault run the revocation before it answers and report its failure, so no second look is needed.
        if (handle.type === 'lease')
          await session.write('sys/leases/revoke', { lease_id: handle.id, sync: true }, options)
        else if (handle.type === 'accessor')
          await session.write('auth/token/revoke-accessor', { accessor: handle.id }, options)
        else await revokeCertificate(handle.mount, handle.serial, options)
      } catch (thrown) {
        if (thrown instanceof VaultFault && handle.type !== 'certificate' && goneAlready.has(thrown.errorClass)) return
        throw thrown
      }
    },

    async list(...parts) {
      const prefix = vaultPath(...parts)
      const keys = await session.list(`sys/leases/lookup/${prefix}/`, longestList)
      return handlesOf(prefix, keys)
    },

    async lookUp(handle) {
      try {
        if (handle.type === 'lease') return await lookUpLease(handle.id)
        if (handle.type === 'accessor') return await lookUpToken(handle.id)
        return await lookUpCertificate(handle.mount, handle.serial)
      } catch (thrown) {
        if (thrown instanceof VaultFault && handle.type !== 'certificate' && goneAlready.has(thrown.errorClass))
          return ended
        throw thrown
      }
    },
  }
}

function* handlesOf(prefix: string, keys: readonly string[]): Iterable<Secret<LeaseHandle>> {
  for (const key of keys) {
    if (key.endsWith('/') || wrappingTokenLease.test(key)) continue
    yield new Secret<LeaseHandle>({ type: 'lease', id: `${prefix}/${key}` })
  }
}

const goneAlready: ReadonlySet<string> = new Set(['lease not found', 'accessor not found'])
