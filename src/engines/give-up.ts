import { AmbiguousMint, VaultFault } from './faults.ts'

/**
 * What must hold before a fresh secret is handed on. When it does not, the secret is ended first, and handed to nobody.
 * @throws whatever `check` threw; `AmbiguousMint` when the secret could not be ended either
 */
export async function orGiveUp<T>(check: () => T | Promise<T>, end: () => Promise<void>): Promise<T> {
  try {
    return await check()
  } catch (refusal) {
    await end().catch((failure: unknown) => {
      throw failure instanceof VaultFault ? new AmbiguousMint(failure) : failure
    })
    throw refusal
  }
}
