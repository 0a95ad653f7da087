import { inParallel } from '../base/in-parallel.ts'
import type { EndedGrant } from '../contract/grant.ts'
import type { Ender, EndOrder } from './end.ts'
import type { Grant } from './grant.ts'

/** Revocations of one order that run side by side: quick, without taking Vault away from everybody else. */
export const endingAtOnce = 16

/**
 * Ends several grants for one cause, some at a time, and answers in their order. Never rejects: one that fails must not keep the
 * others alive, so it is answered as pending and the sweep goes on with it. Once `stopped`, what was not begun is left out.
 */
export async function endAll(
  ender: Pick<Ender, 'endOrPostpone'>,
  grants: readonly Grant[],
  order: EndOrder,
  { stopped, onAnswer }: { stopped?: () => boolean; onAnswer?: (answer: EndedGrant) => void } = {},
): Promise<readonly EndedGrant[]> {
  const answers: EndedGrant[] = new Array(grants.length)
  // A mint under way is waited for; what is held already must not wait behind it.
  const inTurn = [...grants.entries()].sort(([, a], [, b]) => Number(isMinting(a)) - Number(isMinting(b)))
  await inParallel(
    inTurn,
    endingAtOnce,
    async ([index, grant]) => {
      const answer = await ender.endOrPostpone(grant, order)
      answers[index] = answer
      onAnswer?.(answer)
    },
    stopped,
  )
  return answers.filter((answer) => answer !== undefined)
}

const isMinting = ({ status }: Grant): boolean => status === 'pending' || status === 'minting'
