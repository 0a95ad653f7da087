/** What an order to revoke is about. */
export type MatchBy = 'workload' | 'owner' | 'purpose' | 'issuer' | 'credential' | 'task' | 'all'

/** Everything of which that field has that value, as far as one of `teams` owns it; `all` matches whatever there is. */
export interface Matching {
  readonly by: MatchBy
  /** Empty for `all`. */
  readonly name: string
  /** Absent when it does not matter whose it is. */
  readonly teams: readonly string[] | undefined
}

/** What a grant is found under, before there is one and afterwards. */
export interface Subject {
  readonly workload: string
  readonly owner: string
  readonly purpose: string
  readonly issuer: string
  readonly credential: string
  readonly task?: string | undefined
}

/** Labels by which the registry finds the live grants that match, `teams` aside. */
export const labelsOfMatch = ({ by, name }: Matching): readonly string[] =>
  by === 'all' ? ['live'] : [`${by}=${name}`, 'live']

/** Whether one of the teams owns it, where that matters. */
export const isTheirs = ({ teams }: Matching, owner: string): boolean => teams?.includes(owner) ?? true

/**
 * The orders that keep issuance from going on, found by what they match and not one by one: this is asked for each issuance. It never
 * awaits, so that nothing comes between the answer and what is done about it.
 */
export interface Holds<Order extends Matching> {
  add(order: Order): void
  remove(order: Order): void
  /** One that matches and of which `stands` is true. */
  find(subject: Subject, stands: (order: Order) => boolean): Order | undefined
}

export function createHolds<Order extends Matching>(): Holds<Order> {
  const byKey = new Map<string, Set<Order>>()
  const keyOf = ({ by, name }: Matching): string => `${by}=${name}`
  return {
    add(order) {
      const key = keyOf(order)
      byKey.set(key, (byKey.get(key) ?? new Set()).add(order))
    },
    remove(order) {
      const key = keyOf(order)
      const orders = byKey.get(key)
      orders?.delete(order)
      if (orders?.size === 0) byKey.delete(key)
    },
    find(subject, stands) {
      if (byKey.size === 0) return undefined
      for (const by of fields) {
        for (const order of byKey.get(`${by}=${by === 'all' ? '' : (subject[by] ?? '')}`) ?? []) {
          if (isTheirs(order, subject.owner) && stands(order)) return order
        }
      }
      return undefined
    },
  }
}

const fields = ['all', 'workload', 'owner', 'purpose', 'issuer', 'credential', 'task'] as const
