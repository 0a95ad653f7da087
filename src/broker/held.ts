import { ok, type Result, refuse } from '../base/result.ts'
import type { Subject } from '../grants/holds.ts'
import type { Order, Orders } from '../grants/orders.ts'

/** Refuses while an order to revoke holds. */
export function heldOr(orders: Orders, subject: Subject): Result<void> {
  const order = orders.heldBy(subject)
  return order === undefined ? ok(undefined) : heldByOrder(order)
}

export const heldByOrder = ({ id }: Order): Result<never> => refuse('issuance_held', 'revocation', `held by ${id}`)
