import { publicRandom } from './random.ts'

// Crockford's alphabet in lower case: no look-alikes, safe in a URL, a SQL name and a certificate SAN.
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

type Branded<Prefix extends string> = `${Prefix}_${string}`
type Prefixes = 'gr' | 'cmp' | 'tsk' | 'ap' | 'rev' | 'rq'
export type GrantId = Branded<'gr'>
export type CompositeId = Branded<'cmp'>
export type TaskId = Branded<'tsk'>
export type ApprovalId = Branded<'ap'>
export type RevocationId = Branded<'rev'>
export type RequestId = Branded<'rq'>

const bytesPerId = 16

/** A fresh identifier: the prefix and 26 characters, the first 10 ordered by creation time (ULID layout, 80 random bits). */
export function newId<Prefix extends Prefixes>(prefix: Prefix, nowMs: number): Branded<Prefix> {
  let time = ''
  for (let rest = nowMs, i = 0; i < 10; i++) {
    time = alphabet[rest % 32] + time
    rest = Math.floor(rest / 32)
  }
  let random = ''
  for (const byte of publicRandom(bytesPerId)) random += alphabet[byte & 31]
  return `${prefix}_${time}${random}`
}

/** Whether attacker-controlled text has the shape of an identifier with that prefix. */
export function isId<Prefix extends Prefixes>(prefix: Prefix, text: string): text is Branded<Prefix> {
  return (
    text.length === prefix.length + 27 &&
    text.startsWith(`${prefix}_`) &&
    /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(-26))
  )
}
