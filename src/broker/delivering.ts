import { messageOf } from '../base/errors.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { CredentialRequest, IssuedCredential } from '../contract/credential.ts'
import { timeText } from '../contract/fields.ts'
import type { Grant } from '../grants/grant.ts'
import { awaitReceipt } from '../ledger/search/await-receipt.ts'
import type { Access } from '../policy/decision.ts'
import type { Entered } from './desk.ts'
import { heldByOrder } from './held.ts'
import type { Recorded } from './mint.ts'
import type { BrokerDeps } from './stages.ts'
import { expiryOf, rotationText } from './views.ts'

/** With its receipt, where one was asked for. */
type Proved<R extends Recorded = Recorded> = R & { readonly proof?: string | null }

/** Between a recorded secret and its caller. */
export interface Delivering {
  /**
   * Where the request waits for its receipt: with the receipt, or null when there is none within a second, and with the grant as
   * it is by then. Never keeps a minted credential from its caller.
   */
  proved<R extends Recorded>(recorded: R, request: CredentialRequest): Promise<Proved<R>>
  /**
   * Whether the secret may leave: its task may have ended, a switch been pulled, a signal come, or other policies come into force, while
   * Vault was minting. Ends the grant if not.
   */
  stillWanted(entered: Entered, grant: Grant): Promise<Result<void>>
  issuedBody(proved: Proved, access: Access): Omit<IssuedCredential, 'secret'>
}

export function createDelivering(deps: BrokerDeps): Delivering {
  const { registry, tasks, clock } = deps
  return {
    async proved(recorded, { receipt }) {
      if (receipt === undefined) return recorded
      const { index } = recorded.position
      const proof = await awaitReceipt(deps.ledger, index).catch((error: unknown) => {
        deps.log.error({ index, error: messageOf(error) }, 'receipt_failed')
        return undefined
      })
      return { ...recorded, grant: (await registry.get(recorded.grant.id)) ?? recorded.grant, proof: proof ?? null }
    },
    async stillWanted({ identity, by }, grant) {
      try {
        const trusted = await deps.signals.check(identity)
        if (!trusted.ok) {
          await deps.ender.end(grant, { cause: 'signal', by })
          return trusted
        }
        if (grant.approval !== undefined) await deps.approvals.attach(grant.approval, grant.id)
        const overtaken = deps.justified.overtaken(grant)
        if (overtaken !== undefined) {
          await deps.ender.end(grant, { cause: 'policy_changed', reason: overtaken, by })
          return refuse('state_conflict', 'policy', 'the policies changed while it was minted')
        }
        const order = deps.orders.heldBy(grant)
        if (order !== undefined) {
          const { id: revocation, reason, orderedBy, orderedAtMs: sinceMs } = order
          await deps.ender.endOrPostpone(grant, { cause: 'kill_switch', reason, by: orderedBy, revocation, sinceMs })
          // Of the order that was found, also when it was lifted since: the secret has ended.
          return heldByOrder(order)
        }
        if (grant.status === 'active' && (await tasks.stillOpen(grant.task))) return ok(undefined)
      } catch (error) {
        // Nobody will get this secret, so nobody would hand it back.
        await deps.ender.end(grant, { cause: 'undelivered', by }).catch(() => {})
        throw error
      }
      await deps.ender.end(grant, { cause: 'task_ended', by })
      return refuse('state_conflict', 'grant.live', 'it was ended while it was minted')
    },
    issuedBody: ({ grant, minted: { rotation }, position: { index }, proof }, access) => ({
      grant: grant.id,
      workload: grant.workload,
      purpose: grant.purpose,
      credential: grant.credential,
      environment: grant.environment,
      issued_at: timeText(grant.issuedAtMs ?? clock.now()),
      expires_at: expiryOf(grant),
      ttl_capped_by: [...access.cappedBy, ...cappedByVault(grant, access)],
      renewable: grant.renewable,
      revocable: grant.revocable,
      delivery: grant.delivery,
      ...(rotation === undefined ? {} : { rotation: rotationText(rotation) }),
      ...(grant.task === undefined ? {} : { task: grant.task }),
      ledger: {
        index,
        receipt: `/v1/ledger/entries/${index}/receipt`,
        ...(proof === undefined ? {} : { proof }),
      },
    }),
  }
}

/** Vault may let a secret live for less than was decided: its role, its mount or its own limits. */
function cappedByVault(grant: Grant, access: Access): readonly string[] {
  if (grant.static || grant.expiresAtMs === undefined) return []
  // The decision is a moment older than the lease, and Vault counts whole seconds.
  const short = grant.expiresAtMs < grant.openedAtMs + access.ttlSeconds * 1000 - 2_000
  return short ? ['vault'] : []
}
