import type { Clock, Timer } from '../../base/clock.ts'
import { systemMaxTtlSeconds, VaultError } from './backend.ts'
import type { Leases } from './leases.ts'
import { randomText } from './random.ts'

/** A Vault token. Its id is a secret; its accessor is not. */
export interface Token {
  readonly id: string
  readonly accessor: string
  /** Sorted. */
  readonly policies: readonly string[]
  readonly meta: Readonly<Record<string, string>> | null
  readonly displayName: string
  /** Route that made it. */
  readonly path: string
  /** Token role that made it. */
  readonly role: string | undefined
  readonly createdMs: number
  readonly creationSeconds: number
  /** Absent for a token that never ends. */
  readonly expiresMs: number | undefined
  readonly explicitMaxSeconds: number
  readonly periodSeconds: number
  readonly renewable: boolean
  readonly parent: string | undefined
  readonly entityId: string
  /** Cannot be renewed or revoked, and has no accessor. */
  readonly batch: boolean
  /** Uses left; 0 is without limit, negative is spent. */
  readonly usesLeft: number
}

/** What a token is made from; absent values take Vault's defaults. */
interface NewToken {
  readonly id?: string
  readonly policies: readonly string[]
  readonly meta?: Readonly<Record<string, string>> | undefined
  readonly displayName: string
  readonly path: string
  readonly role?: string
  /** 0 never ends. */
  readonly ttlSeconds: number
  readonly explicitMaxSeconds?: number
  readonly maxSeconds?: number
  readonly periodSeconds?: number
  readonly renewable: boolean
  readonly parent?: string | undefined
  readonly entityId?: string
  readonly uses?: number
  readonly batch?: boolean
}

export interface Tokens {
  create(fresh: NewToken): Token
  /** A living token; counts nothing. */
  find(id: string): Token | undefined
  byAccessor(accessor: string): Token | undefined
  accessors(): readonly string[]
  /** Takes one use; the token that spends its last use ends when `used` is called. @throws VaultError 403 */
  use(id: string): { readonly token: Token; readonly used: () => Promise<void> }
  /** @throws VaultError 400 when it cannot be renewed */
  renew(id: string, incrementSeconds: number | undefined): Token
  /** Ends the token, its leases and every token below it. */
  revoke(id: string): Promise<void>
  /** Ends the token and its leases; the tokens below it live on as orphans. */
  revokeOrphaning(id: string): Promise<void>
  /** Calls `listener` with the id of each token as it ends. */
  onEnd(listener: (id: string) => void): void
  halt(): void
}

interface Held extends Token {
  policies: readonly string[]
  expiresMs: number | undefined
  parent: string | undefined
  usesLeft: number
  readonly maxMs: number
  timer: Timer
}

/** The token store: tokens end on time, when used up, by request, and with their parent; their leases end with them. */
export function createTokens(deps: { clock: Clock; leases: Leases }): Tokens {
  const { clock, leases } = deps
  const held = new Map<string, Held>()
  const idByAccessor = new Map<string, string>()
  const listeners: ((id: string) => void)[] = []

  const drop = async (token: Held): Promise<void> => {
    token.timer.cancel()
    held.delete(token.id)
    idByAccessor.delete(token.accessor)
    for (const listener of listeners) listener(token.id)
    await leases.revokeOfToken(token.id)
  }
  const childrenOf = (id: string): Held[] => [...held.values()].filter((token) => token.parent === id)
  const dropTree = async (token: Held): Promise<void> => {
    const children = childrenOf(token.id)
    await Promise.all([drop(token), ...children.map(dropTree)])
  }
  const arm = (token: Held): void => {
    token.timer.cancel()
    if (token.expiresMs === undefined) return
    // A lease that cannot be ended now is retried by the lease table.
    token.timer = clock.after(token.expiresMs - clock.now(), () => void dropTree(token).catch(() => {}))
  }
  const living = (id: string): Held | undefined => {
    const token = held.get(id)
    return token !== undefined && (token.expiresMs === undefined || token.expiresMs > clock.now()) ? token : undefined
  }

  return {
    create(fresh) {
      const nowMs = clock.now()
      const period = fresh.periodSeconds ?? 0
      const explicit = fresh.explicitMaxSeconds ?? 0
      const batch = fresh.batch ?? false
      const ceilings = [fresh.maxSeconds ?? 0, explicit].filter((value) => value > 0)
      const maxSeconds =
        period > 0 && explicit === 0 ? Number.POSITIVE_INFINITY : Math.min(systemMaxTtlSeconds, ...ceilings)
      const wanted = period > 0 ? period : fresh.ttlSeconds
      const lifeSeconds = wanted === 0 ? 0 : Math.min(wanted, maxSeconds)
      const token: Held = {
        id: fresh.id ?? `${batch ? 'b' : 's'}.${randomText(24)}`,
        accessor: batch ? '' : randomText(24),
        batch,
        policies: [...new Set(fresh.policies)].sort(),
        meta: fresh.meta ?? null,
        displayName: fresh.displayName,
        path: fresh.path,
        role: fresh.role,
        createdMs: nowMs,
        creationSeconds: lifeSeconds,
        expiresMs: lifeSeconds === 0 ? undefined : nowMs + lifeSeconds * 1000,
        explicitMaxSeconds: explicit,
        periodSeconds: period,
        renewable: fresh.renewable && lifeSeconds > 0 && !batch,
        parent: fresh.parent,
        entityId: fresh.entityId ?? '',
        usesLeft: fresh.uses ?? 0,
        maxMs: nowMs + maxSeconds * 1000,
        timer: { cancel: () => {} },
      }
      held.set(token.id, token)
      if (!batch) idByAccessor.set(token.accessor, token.id)
      arm(token)
      return token
    },
    find: living,
    byAccessor: (accessor) => living(idByAccessor.get(accessor) ?? ''),
    accessors: () => [...idByAccessor.keys()].sort(),
    use(id) {
      const token = living(id)
      if (token === undefined || token.usesLeft < 0) throw new VaultError(403, 'permission denied')
      const last = token.usesLeft === 1
      if (last) token.usesLeft = -1
      else if (token.usesLeft > 1) token.usesLeft--
      return { token, used: async () => (last && held.has(id) ? dropTree(token) : undefined) }
    },
    renew(id, incrementSeconds) {
      const token = living(id)
      if (token === undefined) throw new VaultError(403, 'permission denied')
      if (token.batch) throw new VaultError(400, 'batch tokens cannot be renewed')
      if (!token.renewable) throw new VaultError(400, 'lease is not renewable')
      const nowMs = clock.now()
      const asked = token.periodSeconds > 0 ? token.periodSeconds : incrementSeconds || token.creationSeconds
      token.expiresMs = Math.min(nowMs + asked * 1000, token.maxMs)
      arm(token)
      return token
    },
    async revoke(id) {
      const token = held.get(id)
      if (token?.batch) throw new VaultError(400, 'batch tokens cannot be revoked')
      if (token !== undefined) await dropTree(token)
    },
    async revokeOrphaning(id) {
      const token = held.get(id)
      if (token === undefined) return
      for (const child of childrenOf(id)) child.parent = undefined
      await drop(token)
    },
    onEnd: (listener) => void listeners.push(listener),
    halt() {
      for (const token of held.values()) token.timer.cancel()
    },
  }
}
