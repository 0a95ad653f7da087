import { randomFillSync } from 'node:crypto'

// Crockford's alphabet in lower case: no look-alikes, safe in a URL, a SQL name and a certificate SAN.
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

type Branded<Prefix extends string> = `${Prefix}_${string}`
export type GrantId = Branded<'gr'>
export type TaskId = Branded<'tsk'>
export type ApprovalId = Branded<'ap'>
export type RequestId = Branded<'rq'>

// Drawing random bytes costs the same for 16 as for 4096, and each is used once.
const pool = new Uint8Array(4096)
const bytesPerId = 16
let used = pool.length

/** A fresh identifier: the prefix and 26 characters, the first 10 ordered by creation time (ULID layout, 80 random bits). */
export function newId<Prefix extends 'gr' | 'tsk' | 'ap' | 'rq'>(prefix: Prefix, nowMs: number): Branded<Prefix> {
  let time = ''
  for (let rest = nowMs, i = 0; i < 10; i++) {
    time = alphabet[rest % 32] + time
    rest = Math.floor(rest / 32)
  }
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  let random = ''
  for (const end = used + bytesPerId; used < end; used++) random += alphabet[(pool[used] ?? 0) & 31]
  return `${prefix}_${time}${random}`
}

/** Whether attacker-controlled text has the shape of an identifier with that prefix. */
export function isId<Prefix extends 'gr' | 'tsk' | 'ap' | 'rq'>(prefix: Prefix, text: string): text is Branded<Prefix> {
  return (
    text.length === prefix.length + 27 &&
    text.startsWith(`${prefix}_`) &&
    /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(-26))
  )
}
