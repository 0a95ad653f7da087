import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { Secret } from '../base/secret.ts'
import type { VaultResponse } from './envelope.ts'
import { VaultFault } from './faults.ts'

/** How the broker proves itself to Vault. */
export type VaultAuthMethod =
  | { readonly method: 'token'; readonly token: Secret<string> }
  /** The ids are asked for at each login, so that whoever keeps them may rotate them. */
  | { readonly method: 'approle'; readonly ids: () => Promise<AppRoleIds>; readonly mount?: string }

export interface AppRoleIds {
  readonly roleId: string
  readonly secretId: Secret<string>
}

/** Calls Vault with exactly this token (or none) and without retries. */
export type RawWrite = (path: string, data: object, token: Secret<string> | undefined) => Promise<VaultResponse>
export type RawRead = (path: string, token: Secret<string>) => Promise<VaultResponse>

/** Keeps the broker's own Vault token alive. */
export interface TokenKeeper {
  /** Resolves after the first attempt, whatever came of it; later attempts run in the background. */
  start(): Promise<void>
  /** @throws VaultFault `not_logged_in` while there is no usable token. */
  current(): Promise<Secret<string>>
  /** After a 403: whether `token` itself is dead, as opposed to lacking a policy line. A dead one is replaced if it can be. */
  isDead(token: Secret<string>): Promise<boolean>
  /** Counts logins: leases made under an earlier generation die with that generation's token. */
  generation(): number
  state(): { readonly ok: boolean; readonly detail: string }
  close(): void
}

interface Held {
  readonly token: Secret<string>
  /** Life in seconds that a full renewal gives; 0 for a token that never ends. */
  readonly fullTtlSeconds: number
  readonly renewable: boolean
}

const firstRetryMs = 1_000
const longestRetryMs = 30_000
// Denials in a burst cost one look at the token, not one each.
const aliveForMs = 1_000

/**
 * Logs in, renews at two thirds of the token's life, and logs in anew once Vault stops granting full renewals
 * (the token nears its greatest life). The earlier token is never revoked: its leases live as long as it does.
 */
export function createTokenKeeper(deps: {
  auth: VaultAuthMethod
  clock: Clock
  log: Log
  write: RawWrite
  read: RawRead
}): TokenKeeper {
  const { auth, clock, log } = deps
  let held: Held | undefined
  let generation = 0
  let problem = 'not logged in yet'
  let timer: Timer | undefined
  let failures = 0
  let closed = false
  let attempt: Promise<void> | undefined
  let seenAliveAtMs = Number.NEGATIVE_INFINITY

  function schedule(delayMs: number, run: () => Promise<void>): void {
    timer?.cancel()
    if (closed) return
    timer = clock.after(delayMs, () => void run())
  }

  function hold(next: Held, remainingSeconds: number): void {
    held = next
    problem = ''
    failures = 0
    if (next.fullTtlSeconds > 0) schedule((remainingSeconds * 1000 * 2) / 3, keepAlive)
    else timer?.cancel()
  }

  function failed(thrown: unknown, again: () => Promise<void>): void {
    problem = messageOf(thrown)
    failures += 1
    log.warn({ problem, failures }, 'vault.login_failed')
    schedule(Math.min(longestRetryMs, firstRetryMs * 2 ** (failures - 1)), again)
  }

  async function obtain(): Promise<void> {
    if (auth.method === 'token') {
      const self = await deps.read('auth/token/lookup-self', auth.token)
      const ttl = Number(self.data?.ttl ?? 0)
      const created = Number(self.data?.creation_ttl ?? 0)
      generation = 1
      return hold(
        { token: auth.token, fullTtlSeconds: Math.max(ttl, created), renewable: self.data?.renewable === true },
        ttl,
      )
    }
    const path = `auth/${auth.mount ?? 'approle'}/login`
    const { roleId, secretId } = await auth.ids()
    const answer = await deps.write(path, { role_id: roleId, secret_id: secretId.reveal() }, undefined)
    if (answer.auth == null) throw new VaultFault('unreadable', 'the AppRole login answered without a token')
    generation += 1
    log.info({ generation, ttl_seconds: answer.auth.lease_duration }, 'vault.logged_in')
    const { client_token: token, lease_duration: ttl, renewable } = answer.auth
    hold({ token: new Secret(token), fullTtlSeconds: ttl, renewable }, ttl)
  }

  /** Single flight: however many calls find the token missing, one login runs. */
  function login(): Promise<void> {
    attempt ??= obtain()
      .catch((thrown: unknown) => failed(thrown, login))
      .finally(() => {
        attempt = undefined
      })
    return attempt
  }

  async function keepAlive(): Promise<void> {
    const renewing = held
    if (renewing === undefined || !renewing.renewable) return replace('it is not renewable')
    try {
      const answer = await deps.write('auth/token/renew-self', {}, renewing.token)
      const ttl = answer.auth?.lease_duration ?? 0
      // A second of rounding is not the end; a tenth less than full means the greatest life is in sight.
      if (ttl < renewing.fullTtlSeconds * 0.9) return await replace('it nears its greatest life', ttl)
      hold(renewing, ttl)
    } catch (thrown) {
      if (thrown instanceof VaultFault && thrown.code === 'engine_refused') return replace('Vault no longer accepts it')
      failed(thrown, keepAlive)
    }
  }

  async function replace(why: string, remainingSeconds?: number): Promise<void> {
    if (auth.method === 'approle') {
      log.info({ why }, 'vault.token_replaced')
      return login()
    }
    log.warn({ why, remaining_seconds: remainingSeconds }, 'vault.token_ending')
    if (remainingSeconds !== undefined && remainingSeconds > 3 && held !== undefined) {
      return schedule((remainingSeconds * 1000 * 2) / 3, keepAlive)
    }
    problem = `the Vault token ends: ${why}; give the broker a periodic token`
    schedule(longestRetryMs, login)
  }

  return {
    async start() {
      await login()
    },
    async current() {
      if (held !== undefined) return held.token
      // A given token is usable before it was looked up; the call itself finds out.
      if (auth.method === 'token') return auth.token
      // While a retry is scheduled, further callers do not hammer Vault.
      if (failures === 0 || attempt !== undefined) await login()
      if (held === undefined) throw new VaultFault('not_logged_in', `the broker is not logged in to Vault: ${problem}`)
      return (held as Held).token
    },
    async isDead(token) {
      if (clock.now() - seenAliveAtMs < aliveForMs && token === held?.token) return false
      try {
        await deps.read('auth/token/lookup-self', token)
        seenAliveAtMs = clock.now()
        return false
      } catch (thrown) {
        if (!(thrown instanceof VaultFault) || thrown.kind !== 'denied') return false
      }
      problem = 'Vault no longer accepts the token of the broker'
      if (auth.method === 'approle' && (held === undefined || held.token === token)) await login()
      return true
    },
    generation: () => generation,
    state: () => (problem === '' ? { ok: true, detail: 'logged in' } : { ok: false, detail: problem }),
    close() {
      closed = true
      timer?.cancel()
    },
  }
}
