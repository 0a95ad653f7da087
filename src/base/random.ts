import { randomFillSync } from 'node:crypto'

// Drawing random bytes costs the same for 16 as for 4096.
const pool = new Uint8Array(4096)
let used = pool.length

/**
 * Random bytes that nobody else gets, at most 4096 of them. For names and nonces, which are public: the pool keeps what it gave
 * until it is filled again, so no key is made of it.
 */
export function publicRandom(count: number): Uint8Array {
  if (used + count > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += count
  return pool.slice(used - count, used)
}
