import { bounded } from '../base/bounded.ts'
import type { Clock } from '../base/clock.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Trace } from '../base/trace.ts'
import { timeText } from '../contract/fields.ts'
import { mintedAs } from '../engines/delivery.ts'
import type { Engine, LeaseHandle, Minted, MintOrder } from '../engines/engine.ts'
import { AmbiguousMint } from '../engines/faults.ts'
import { about } from '../grants/end.ts'
import type { Grant } from '../grants/grant.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Registry } from '../grants/registry.ts'
import type { Position } from '../ledger/ledger.ts'
import type { Access } from '../policy/decision.ts'
import type { Entered } from './desk.ts'
import { rotationText } from './views.ts'

interface Deps {
  readonly registry: Registry
  readonly engine: (kind: string) => Engine
  readonly sealLease: (handle: LeaseHandle) => { hash: string; sealed: string }
  readonly clock: Clock
  readonly log: Log
  readonly trace: Trace
}

/** A minted secret whose record is durable. */
export interface Recorded {
  readonly grant: Grant
  readonly minted: Minted
  readonly position: Position
}

/**
 * From a recorded intent to a recorded issuance. The secret is handed on only after its entry is durable (invariant 1);
 * when that entry cannot be written, the lease is revoked before the fault goes on.
 * @throws BrokerFault what the engine or the ledger threw
 */
export async function mintAndRecord(
  deps: Deps,
  grant: Grant,
  access: Access,
  callerParams: Readonly<Record<string, string>>,
  { by, holder }: Pick<Entered, 'by' | 'holder'>,
): Promise<Recorded> {
  const engine = deps.engine(access.target.engine)
  const minted = await mintOrFail(
    deps,
    engine,
    grant,
    { ...orderOf(grant, access, callerParams), ...(holder && { holder: { jkt: holder.jkt } }) },
    by,
  )
  try {
    const handle = minted.handle?.reveal()
    const lease = handle === undefined ? undefined : deps.sealLease(handle)
    const ttlEndMs = deps.clock.now() + access.ttlSeconds * 1000
    const recorded = await deps.trace('ledger.issued', { 'writ.grant': grant.id }, () =>
      deps.registry.record(grant, {
        ...about(grant),
        ...by,
        kind: 'grant.issued',
        data: [...access.data],
        sensitivity: access.sensitivity,
        ceilings: [...access.ceilings],
        lease,
        ids: minted.publicIds.map(({ type, value }) => ({ type, value: bounded(value, 200) })),
        expires: timeText(Math.min(minted.expiresAtMs ?? ttlEndMs, ttlEndMs)),
        renewable: access.renewable && minted.renewable,
        revocable: minted.handle !== undefined,
        static: minted.expiresAtMs === undefined,
        rotation: minted.rotation && rotationText(minted.rotation),
        generation: minted.generation,
      }),
    )
    return { ...recorded, minted }
  } catch (error) {
    await compensate(deps, engine, grant, minted)
    throw error
  }
}

async function mintOrFail(deps: Deps, engine: Engine, grant: Grant, order: MintOrder, by: Provenance): Promise<Minted> {
  try {
    return await deps.trace('engine.mint', { 'writ.engine': engine.kind, 'writ.grant': grant.id }, () =>
      engine.mint(order),
    )
  } catch (error) {
    // Nobody knows whether Vault minted: the grant stays `minting` until reconciling has looked, and nobody waits for it.
    if (error instanceof AmbiguousMint) {
      await deps.registry.update(grant.id, (present) => ({ ...present, mintLost: true }))
      throw error
    }
    await deps.registry.record(grant, {
      ...about(grant),
      ...by,
      kind: 'grant.failed',
      code: error instanceof BrokerFault ? error.code : 'internal',
      ambiguous: false,
      detail: error instanceof BrokerFault ? bounded(error.message) : 'the engine failed',
    })
    throw error
  }
}

async function compensate(deps: Deps, engine: Engine, grant: Grant, minted: Minted): Promise<void> {
  const handle = minted.handle?.reveal()
  if (handle === undefined) return
  try {
    await engine.revoke(handle)
    deps.log.warn({ grant: grant.id }, 'issuance_compensated')
  } catch (error) {
    // The intent is on record, so the next start finds the lease and revokes it.
    deps.log.error({ grant: grant.id, error: messageOf(error) }, 'compensation_failed')
  }
}

function orderOf(grant: Grant, access: Access, callerParams: Readonly<Record<string, string>>): MintOrder {
  return {
    grant: grant.id,
    target: access.target,
    names: {
      workload: grant.workload,
      grant: grant.id,
      purpose: grant.purpose,
      environment: grant.environment,
      owner: grant.owner,
      task: grant.task ?? '',
    },
    callerParams,
    ttlSeconds: access.ttlSeconds,
    delivery: mintedAs(access.delivery),
  }
}
