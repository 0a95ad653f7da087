import type { ConditionContext } from './condition.ts'

/** Contexts of which a forgotten part was looked at. */
const looked = new WeakSet<object>()

/** Whether evaluating an expression over the context came to a part that is forgotten. */
export const lookedAtForgotten = (context: ConditionContext): boolean => looked.has(context)

/**
 * The context of a decision that is long past: what the token claimed, and the parameters, address and life that the request named, are
 * kept by nobody. Looking at one of them throws, which CEL takes for an error: `a || b` is still true when `b` is, and `a && b` false,
 * whatever `a` may have been (cel-spec, "Logical Operators"). So an expression has a value exactly where what is kept decides it.
 */
export function forgetful(context: ConditionContext): ConditionContext {
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
  for (const name of ['params', 'ip', 'ttl']) forget(request, name)
  return past
}
