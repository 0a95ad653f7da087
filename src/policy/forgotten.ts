import type { ConditionContext } from './condition.ts'

/** Contexts of which a forgotten part was looked at. */
const looked = new WeakSet<object>()

/** Whether evaluating an expression over the context came to a part that is forgotten. */
export const lookedAtForgotten = (context: ConditionContext): boolean => looked.has(context)

/** Fields of a request that no entry of the ledger holds. */
export const neverKept = ['params', 'ip', 'ttl'] as const
/** Further ones that are kept of a request that was granted, and not of one that was refused. */
export const keptIfGranted = ['reason', 'task', 'delivery'] as const
export type Forgotten = (typeof neverKept)[number] | (typeof keptIfGranted)[number]

/**
 * The context of a decision that is long past: nobody keeps what the token claimed, nor those fields of the request. Looking at one of them throws, which CEL takes for an error: `a || b` is still true when `b` is, and `a && b` false,
 * whatever `a` may have been (cel-spec, "Logical Operators"). So an expression has a value exactly where what is kept decides it.
 */
export function forgetful(context: ConditionContext, fields: readonly Forgotten[]): ConditionContext {
  const { claims: _, request, ...kept } = context
  const forget = (from: object, name: string): void => {
    Object.defineProperty(from, name, {
      get() {
        looked.add(past)
        throw new Error('forgotten')
      },
    })
  }
  const past = { ...kept, request } as ConditionContext
  forget(past, 'claims')
  for (const name of fields) forget(request, name)
  return past
}
