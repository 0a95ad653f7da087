import type { Attributes } from '@opentelemetry/api'
import { BrokerFault } from '../base/errors.ts'
import { inParallel } from '../base/in-parallel.ts'
import { ok, type Refusal, type Result, refuse } from '../base/result.ts'
import { each, type Several } from '../base/several.ts'
import { about } from '../grants/end.ts'
import type { Grant } from '../grants/grant.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Access, Decision } from '../policy/decision.ts'
import type { Issued, IssuedSet } from './caller.ts'
import type { Delivering } from './delivering.ts'
import type { Desk, Entered } from './desk.ts'
import { encrypted } from './encrypted.ts'
import { mintAndRecord, type Recorded } from './mint.ts'
import type { BrokerDeps } from './stages.ts'
import type { Wanted } from './wanted.ts'

export type Allowed = Exclude<Decision, { effect: 'deny' }>

/** One credential of a request that policy allows. Most requests have one part. */
export interface Part {
  readonly wanted: Wanted
  readonly decision: Allowed
  readonly access: Access
}

/** A part with its grant: on its way to a place under the limits, or with its intent on record. */
export interface Intended extends Part {
  readonly grant: Grant
}

/** A part whose secret is minted and on record. */
type Obtained = Intended & Recorded

/** What holds the parts of one request together: all of them are issued, or none is. */
export interface Composite {
  /**
   * Mints the parts, a few at a time; where one is delivered `jwe`, the plain secret goes no further than this. When one cannot be minted or recorded, those that are have ended before the fault goes on.
   * @throws BrokerFault what the first that failed has thrown
   */
  mint(parts: Several<Intended>, entered: Pick<Entered, 'by' | 'holder'>): Promise<Several<Obtained>>
  /**
   * Whether every secret may leave, and for a set the entry that says so: what a start finds of a set without it, it ends. When one may
   * not, all have ended.
   */
  stillWanted(entered: Entered, parts: Several<Obtained>): Promise<Result<void>>
}

/** Mints of one request at once; Vault is shared with every other request. */
const mintedAtOnce = 4

type Deps = Pick<BrokerDeps, 'registry' | 'ender' | 'ledger' | 'log'> &
  Pick<Delivering, 'stillWanted'> & { readonly mintDeps: Parameters<typeof mintAndRecord>[0] }

export function createComposite({ mintDeps, registry, ender, ledger, log, stillWanted }: Deps): Composite {
  const unissued = { cause: 'issuance_failed', reason: 'another credential of its set was not issued' } as const

  /** What cannot be ended now is left to the sweep, as every end is. */
  async function endAll(grants: readonly Grant[], by: Provenance): Promise<void> {
    const end = async (grant: Grant): Promise<void> => void (await ender.endOrPostpone(grant, { ...unissued, by }))
    await inParallel(grants, mintedAtOnce, end)
  }

  /** Nobody asks Vault for it any more. */
  async function giveUp({ grant }: Intended, by: Provenance, fault: unknown): Promise<void> {
    const code = fault instanceof BrokerFault ? fault.code : 'internal'
    const failed = { ...about(grant), ...by, code, ambiguous: false, detail: unissued.reason }
    // Without a ledger its place is given back by reconciling, as that of every mint that was cut off.
    await registry.record(grant, { ...failed, kind: 'grant.failed' }).catch(() => {
      log.error({ grant: grant.id }, 'unissued_not_recorded')
    })
  }

  /** As the grant is by now: others may have ended it while the rest was minted. */
  const present = async (grant: Grant): Promise<Grant> => (await registry.get(grant.id)) ?? grant

  async function check(entered: Entered, parts: Several<Obtained>): Promise<Result<void>> {
    for (const { grant } of parts) {
      const wanted = await stillWanted(entered, await present(grant))
      if (!wanted.ok) return wanted
    }
    const [{ grant }, ...others] = parts
    if (others.length === 0) return ok(undefined)
    await ledger.append({
      ...about(grant),
      ...entered.by,
      grant: undefined,
      credential: undefined,
      kind: 'composite.issued',
      parts: parts.map((part) => part.grant.id),
    })
    for (const part of parts) {
      const { status } = await present(part.grant)
      if (status !== 'active') return refuse('state_conflict', 'grant.live', 'one of the set was ended meanwhile')
    }
    return ok(undefined)
  }

  return {
    async mint(parts, entered) {
      const { by } = entered
      const obtained = new Map<Intended, Obtained>()
      let fault: { readonly thrown: unknown } | undefined
      await inParallel(parts, mintedAtOnce, async (part) => {
        if (fault !== undefined) return giveUp(part, by, fault.thrown)
        try {
          const { grant, access, wanted } = part
          const recorded = await mintAndRecord(mintDeps, grant, access, wanted.params, entered)
          const readable = access.delivery === 'jwe' ? await encrypted(ender, recorded, entered) : recorded
          obtained.set(part, { ...part, ...readable })
        } catch (thrown) {
          fault ??= { thrown }
        }
      })
      if (fault === undefined) return each(parts, (part) => obtained.get(part) ?? fail())
      await endAll(
        [...obtained.values()].map(({ grant }) => grant),
        by,
      )
      throw fault.thrown
    },
    async stillWanted(entered, parts) {
      const endRest = async (): Promise<void> => {
        if (parts.length > 1)
          await endAll(
            parts.map(({ grant }) => grant),
            entered.by,
          )
      }
      try {
        const wanted = await check(entered, parts)
        if (!wanted.ok) await endRest()
        return wanted
      } catch (error) {
        await endRest()
        throw error
      }
    },
  }
}

function fail(): never {
  throw new BrokerFault('internal', 'a part was neither minted nor refused')
}

/**
 * The parts, when policy allows each of them. Else every denial is recorded, and the first is the answer; of a set it names the
 * credential that it is about.
 */
export async function allAllowed(
  desk: Desk,
  entered: Entered,
  asked: Several<Wanted>,
  decisions: Several<Decision>,
): Promise<Result<Several<Part>>> {
  let first: { readonly ok: false; readonly refusal: Refusal } | undefined
  const parts: Part[] = []
  for (const [at, decision] of decisions.entries()) {
    const wanted = asked[at] ?? asked[0]
    if (decision.effect !== 'deny') {
      parts.push({ wanted, decision, access: decision.access })
      continue
    }
    const { purpose, credential } = wanted
    const refusal = asked.length === 1 ? decision.refusal : naming(decision.refusal, credential)
    // Also a purpose that policy does not know is on record: whoever changes the policies sees what was asked for.
    const about = { purpose, ...(credential !== undefined && { credential }), ...decision.subject }
    const refused = await desk.refused(entered, refusal, about)
    first ??= refused
  }
  return first ?? ok(parts as unknown as Several<Part>)
}

const naming = (refusal: Refusal, credential = ''): Refusal => ({
  ...refusal,
  reasons: [
    ...refusal.reasons,
    { rule: `credential ${credential}`, ok: false, detail: 'one that is refused refuses the whole set' },
  ],
})

/** Records that what policy allows was refused all the same, for each of the parts. */
export async function refusedAll(
  desk: Desk,
  entered: Entered,
  parts: Several<Part>,
  refusal: Refusal,
): Promise<{ readonly ok: false; readonly refusal: Refusal }> {
  for (const { access } of parts) await desk.refused(entered, refusal, access)
  return { ok: false, refusal }
}

/** Attributes of a span that is about them. */
export const spanOf = (parts: Several<Intended>): Attributes => ({
  'writ.grant': parts.map(({ grant }) => grant.id).join(' '),
})

/** One credential as it is, several as a set. */
export function answerOf<P extends Obtained>(
  parts: Several<P>,
  bodyOf: (part: P, access: Access) => Issued['body'],
): Issued | IssuedSet {
  const [first, ...others] = each(parts, (part) => ({
    status: 'issued' as const,
    body: bodyOf(part, part.access),
    secret: part.minted.secret,
  }))
  const { composite } = parts[0].grant
  return composite === undefined ? first : { status: 'issued_set', composite, credentials: [first, ...others] }
}
