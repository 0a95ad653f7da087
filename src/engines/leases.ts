import { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { LeaseHandle, ListedLease } from './engine.ts'
import { VaultFault } from './faults.ts'
import { vaultPath } from './target.ts'
import type { CallOptions, VaultSession } from './vault-session.ts'

/** What every engine does with the handles of its secrets. Lease ids and accessors travel in bodies, never in a path. */
export interface Leases {
  renew(handle: LeaseHandle, ttlSeconds: number): Promise<{ readonly expiresAtMs: number }>
  /** `deadlineMs` is that of the engine: Vault answers when the target has really done it. Never queued behind mints. */
  revoke(handle: LeaseHandle, deadlineMs: number): Promise<void>
  /** Leases under `mount/kind/role`, such as `database/creds/orders-ro`. */
  list(mount: string, kind: string, role: string): Promise<readonly ListedLease[]>
}

// Vault files the lease of a wrapping token under the path that was wrapped. It is not a lease of the role,
// and revoking it would take the secret from a caller who has not unwrapped it yet.
const wrappingTokenLease = /^h[0-9a-f]{64}(\.|$)/

const leaseLookup = z.object({ issue_time: z.iso.datetime({ offset: true }) })

const revokedCertificate = z.object({ revocation_time: z.number().positive() })

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

  function listed(id: string): ListedLease {
    return {
      handle: new Secret<LeaseHandle>({ type: 'lease', id }),
      async issuedAtMs() {
        try {
          const { data } = await session.write('sys/leases/lookup', { lease_id: id })
          const parsed = leaseLookup.safeParse(data)
          if (!parsed.success)
            throw new VaultFault('unreadable', 'POST sys/leases/lookup: the answer says no issue time')
          return Date.parse(parsed.data.issue_time)
        } catch (thrown) {
          if (thrown instanceof VaultFault && thrown.errorClass === 'lease not found') return undefined
          throw thrown
        }
      },
    }
  }

  return {
    async renew(handle, ttlSeconds) {
      if (handle.type !== 'lease')
        throw new BrokerFault('engine_refused', `a secret behind ${handle.type} is not renewable`)
      const startedMs = clock.now()
      const answer = await session.write('sys/leases/renew', { lease_id: handle.id, increment: ttlSeconds })
      return { expiresAtMs: startedMs + Math.min(answer.lease_duration, ttlSeconds) * 1000 }
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

    async list(mount, kind, role) {
      const prefix = vaultPath(mount, kind, role)
      const keys = await session.list(`sys/leases/lookup/${prefix}/`)
      return keys
        .filter((key) => !key.endsWith('/') && !wrappingTokenLease.test(key))
        .map((key) => listed(`${prefix}/${key}`))
    },
  }
}

const goneAlready: ReadonlySet<string> = new Set(['lease not found', 'accessor not found'])
