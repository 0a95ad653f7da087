import { inspect } from 'node:util'

const redacted = '[secret]'

/**
 * Carries a secret through the process. Printing, JSON, string templates and `util.inspect` all show a placeholder;
 * only `reveal()` gives the value, and only the response writer and the sealing of lease handles call it.
 */
export class Secret<T> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  reveal(): T {
    return this.#value
  }

  toString(): string {
    return redacted
  }

  toJSON(): string {
    return redacted
  }

  [inspect.custom](): string {
    return redacted
  }
}
