import { sha256Hex } from '../base/digest.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { Grant, RetryKey } from '../grants/grant.ts'
import type { Registry } from '../grants/registry.ts'

/** A request that carries an Idempotency-Key: how the key is remembered, and the grants of its last use, if there was one. */
export interface Retry extends RetryKey {
  readonly before: readonly Grant[]
}

/** A key that came this often within its memory is no retry any more. */
const mostUses = 100

/**
 * How a key is remembered: for its workload and purpose alone, and never as it was sent. The second hash tells whether it comes with
 * the same request. Nobody can find the request in it by trying without the key.
 */
export function retryKey(workload: string, purpose: string, key: string, request: object): RetryKey {
  return {
    key: sha256Hex(JSON.stringify([workload, purpose, key])),
    request: sha256Hex(JSON.stringify([workload, purpose, key, fieldsOf(request)])),
  }
}

/** The fields in one order, whatever order they came in; as text, because a request may hold what is not well-formed. */
const fieldsOf = (value: object): readonly (readonly [string, unknown])[] =>
  Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .map(([name, field]) => [name, typeof field === 'object' && field !== null ? fieldsOf(field) : field] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))

/**
 * The key of a request for a credential and what it came to before. It is remembered for as long as its grant lives and an hour.
 * Each use has as many grants as its request has parts. Refuses `request_invalid` when it came with another request.
 * @see draft-ietf-httpapi-idempotency-key-header section 2.6; a secret cannot be answered twice, so a retry replaces
 */
export async function retryOf(registry: Registry, key: RetryKey, parts: number): Promise<Result<Retry>> {
  const grants = await registry.find([`key=${key.key}`], { limit: mostUses * parts })
  const last = grants.at(-1)
  if (last !== undefined && last.retry?.request !== key.request) {
    return refuse('request_invalid', 'idempotency_key', 'the key was sent with another request; take a new one')
  }
  if (grants.length >= mostUses * parts) {
    return refuse('state_conflict', 'idempotency_key', `the key was used ${mostUses} times; take a new one`)
  }
  const ofLastUse = ({ id, composite }: Grant): boolean =>
    composite === undefined ? id === last?.id : composite === last?.composite
  return ok({ ...key, before: grants.filter(ofLastUse) })
}
