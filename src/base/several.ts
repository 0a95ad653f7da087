/** At least one of them. */
export type Several<T> = readonly [T, ...T[]]

/** What `make` makes of each, in the same order. */
export const each = <T, U>(all: Several<T>, make: (one: T, at: number) => U): Several<U> =>
  all.map(make) as unknown as Several<U>

/** The same for what takes time, all at once. Rejects as the first does. */
export const eachSoon = async <T, U>(all: Several<T>, make: (one: T, at: number) => Promise<U>): Promise<Several<U>> =>
  (await Promise.all(all.map(make))) as unknown as Several<U>
