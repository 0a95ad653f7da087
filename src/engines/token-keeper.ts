import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { Secret } from '../base/secret.ts'
import { isRefusal, VaultFault } from './faults.ts'
import { type Generation, type GenerationStore, measureLife, type RawRead, type RawWrite } from './generation.ts'
import { createLettingGo, type Hanging } from './letting-go.ts'
import { type Proof, proofOf, type VaultAuthMethod } from './login.ts'

/** The token that mints, and the generation to record with what it mints. */
export interface Minting {
  readonly token: Secret<string>
  readonly generation: number
}

/** One generation, as `writ doctor` and metrics show it. Instants are ms since the epoch; absent for what never comes. */
export interface GenerationView {
  readonly generation: number
  readonly current: boolean
  readonly bornAtMs: number
  /** When the token ends unless it is renewed. */
  readonly expiresAtMs: number | undefined
  /** When no renewal can keep it any longer. */
  readonly endsAtMs: number | undefined
}

/** Keeps the broker's own Vault tokens alive: the one that mints, and each earlier one that leases still hang on. */
export interface TokenKeeper {
  /** Takes up the tokens of the last run, or logs in. Resolves after the first attempt; later ones run in the background. */
  start(): Promise<void>
  /** @throws VaultFault `not_logged_in` while there is no usable token. */
  current(): Promise<Minting>
  /** After a 403: whether `token` itself is dead, as opposed to lacking a policy line. A dead one is replaced if it can be. */
  isDead(token: Secret<string>): Promise<boolean>
  /** Makes a new generation although the present one is good, so that what was changed on the login's role counts. */
  renewLogin(): Promise<void>
  /** Until when a lease of that generation (of the present one without a number) can be kept. */
  leasesEndMs(generation?: number): number
  /** Oldest first. */
  generations(): readonly GenerationView[]
  state(): { readonly ok: boolean; readonly detail: string }
  close(): void
}

interface Held extends Generation {
  timer?: Timer
  failures: number
  /** Said once that it will end and nothing will replace it. */
  warned: boolean
}
type Changes = Partial<Pick<Held, 'supersededAtMs' | 'life' | 'failures' | 'warned'>>

const firstRetryMs = 1_000
const longestRetryMs = 30_000
// A Vault that is away is asked more often than one that refuses.
const longestAwayRetryMs = 5_000
// Denials in a burst cost one look at the token, not one each.
const aliveForMs = 1_000
/** A grant ends this long before its token, so that it is the broker that ends it. */
const leaseMarginMs = 5_000

const between = (least: number, most: number): number => least + Math.random() * (most - least)

/**
 * Logs in; renews each token at a random moment between half and two thirds of its life; and where a token has a greatest
 * life, logs in anew before half of that is over, so that a grant has at least the other half. An earlier token is renewed until
 * no grant hangs on it any more, and then revoked.
 */
export function createTokenKeeper(deps: {
  readonly auth: VaultAuthMethod
  readonly clock: Clock
  readonly log: Log
  readonly write: RawWrite
  readonly read: RawRead
  readonly store?: GenerationStore | undefined
  readonly hanging?: Hanging | undefined
  /** A token ended while grants hung on it: Vault has ended their leases. */
  readonly onLost?: ((generation: number) => void) | undefined
}): TokenKeeper {
  const { auth, clock, log, store, hanging = { count: async () => 0, highest: () => 0 } } = deps
  let held: readonly Held[] = []
  let current: Held | undefined
  let problem = 'not logged in yet'
  let failures = 0
  let retry: Timer | undefined
  let rotation: Timer | undefined
  let attempt: Promise<void> | undefined
  let restoring: Promise<void> | undefined
  let closed = false
  // A given token is usable before it was looked up: the call itself finds out.
  let unseen = auth.method === 'token'
  let seenAliveAtMs = Number.NEGATIVE_INFINITY
  let lastNumber = 0

  const lettingGo = createLettingGo({
    ...deps,
    hanging,
    earlier: () => held.filter((generation) => generation !== current),
    async drop(generation) {
      drop(generation)
      await save()
    },
  })

  const alter = (generation: Held, changes: Changes): Held => Object.assign(generation, changes)

  async function save(): Promise<void> {
    await store?.save(held)
  }

  /** Every token of the last run is kept alive from now on, whichever of them will mint. */
  function restore(): Promise<void> {
    restoring ??= (async () => {
      const kept = (await store?.load()) ?? []
      held = kept.map((generation) => ({ ...generation, failures: 0, warned: false }))
      for (const generation of held) void tend(generation)
    })()
    return restoring
  }

  /** Single flight: however many calls find the token missing, one login runs. */
  function login(anew: boolean): Promise<void> {
    retry?.cancel()
    attempt ??= obtain(anew)
      .catch((thrown: unknown) => loginFailed(thrown, anew))
      .finally(() => {
        attempt = undefined
      })
    return attempt
  }

  async function obtain(anew: boolean): Promise<void> {
    await restore()
    const proof = await proofOf(auth)
    const known = held.findLast(({ by }) => by === proof.by)
    const goOn = !anew || proof.type === 'given'
    if (goOn && known !== undefined && (await revive(known))) return takeOver(known)
    const token = proof.type === 'given' ? proof.token : await logIn(proof)
    const life = await measureLife(token, deps).catch(async (thrown: unknown) => {
      // Nothing was minted under it yet, and nobody else has it.
      if (proof.type === 'login') await deps.write('auth/token/revoke-self', {}, token).catch(() => {})
      throw thrown
    })
    lastNumber = Math.max(lastNumber, hanging.highest(), ...held.map(({ number }) => number)) + 1
    const generation: Held = {
      number: lastNumber,
      token,
      by: proof.by,
      given: proof.type === 'given',
      bornAtMs: clock.now(),
      supersededAtMs: undefined,
      life,
      failures: 0,
      warned: false,
    }
    held = [...held, generation]
    log.info({ generation: lastNumber, method: auth.method, ttl_seconds: life.fullTtlSeconds }, 'vault.logged_in')
    await takeOver(generation)
  }

  async function logIn(proof: Proof & { type: 'login' }): Promise<Secret<string>> {
    const answer = await deps.write(proof.path, proof.body, undefined)
    if (answer.auth == null) {
      throw new VaultFault('unreadable', `POST ${proof.path}: the login answered without a token`)
    }
    return new Secret(answer.auth.client_token)
  }

  /** Whether a token of the last run still lives. */
  async function revive(known: Held): Promise<boolean> {
    try {
      alter(known, { life: await measureLife(known.token, deps) })
      return true
    } catch (thrown) {
      if (!isRefusal(thrown) || !(await isGone(known.token))) throw thrown
      await lose(known)
      return false
    }
  }

  async function takeOver(generation: Held): Promise<void> {
    const nowMs = clock.now()
    for (const earlier of held) {
      if (earlier !== generation && earlier.supersededAtMs === undefined) alter(earlier, { supersededAtMs: nowMs })
    }
    // Kept before anything is minted under it: whatever is must outlive a crash.
    await save()
    current = alter(generation, { supersededAtMs: undefined })
    problem = ''
    failures = 0
    plan(generation)
    if (held.length > 1) lettingGo.schedule()
  }

  function loginFailed(thrown: unknown, anew: boolean): void {
    failures += 1
    const message = messageOf(thrown)
    if (current === undefined) problem = message
    log.warn({ problem: message, failures }, 'vault.login_failed')
    if (!closed) retry = clock.after(backoffMs(failures, thrown), () => void login(anew))
  }

  /** Renews one token, or finds that it has ended. */
  async function tend(generation: Held): Promise<void> {
    if (closed || !held.includes(generation)) return
    if (generation === current) await lookForAnother()
    const { life } = generation
    try {
      if (life.renewable) {
        const answer = await deps.write('auth/token/renew-self', { increment: life.fullTtlSeconds }, generation.token)
        const expiresAtMs = clock.now() + (answer.auth?.lease_duration ?? 0) * 1000
        // A second of rounding is not the end; a tenth less than asked means that its greatest life is in sight.
        const full = expiresAtMs >= clock.now() + life.fullTtlSeconds * 900
        const endsAtMs = full ? life.endsAtMs : Math.min(life.endsAtMs, expiresAtMs)
        alter(generation, { failures: 0, life: { ...life, expiresAtMs, endsAtMs } })
      } else if (clock.now() >= life.expiresAtMs && (await isGone(generation.token))) return await lose(generation)
    } catch (thrown) {
      if (!isRefusal(thrown)) {
        alter(generation, { failures: generation.failures + 1 })
        log.warn({ generation: generation.number, problem: messageOf(thrown) }, 'vault.renewal_failed')
      } else if (await isGone(generation.token)) return await lose(generation)
      else {
        log.warn({ generation: generation.number, problem: messageOf(thrown) }, 'vault.renewal_refused')
        alter(generation, { life: { ...life, renewable: false, endsAtMs: life.expiresAtMs } })
      }
    }
    plan(generation)
  }

  /** The file that a token was read from may hold another one by now. */
  async function lookForAnother(): Promise<void> {
    if (auth.method !== 'token' || auth.reread === undefined) return
    const there = await auth.reread().catch(() => undefined)
    if (there !== undefined && there.reveal() !== current?.token.reveal()) void login(true)
  }

  function plan(generation: Held): void {
    generation.timer?.cancel()
    if (closed || !held.includes(generation)) return
    const leftMs = generation.life.expiresAtMs - clock.now()
    if (Number.isFinite(leftMs)) {
      const renewInMs = generation.failures > 0 ? backoffMs(generation.failures) : leftMs * between(1 / 2, 2 / 3)
      generation.timer = clock.after(Math.max(firstRetryMs, renewInMs), () => void tend(generation))
    }
    if (generation === current) planRotation(generation)
  }

  function planRotation(generation: Held): void {
    const { bornAtMs, life } = generation
    rotation?.cancel()
    if (!Number.isFinite(life.endsAtMs)) return
    if (auth.method === 'token') {
      if (!generation.warned) log.warn({ ends_at: new Date(life.endsAtMs).toISOString() }, 'vault.token_ending')
      alter(generation, { warned: true })
      return
    }
    const atMs = bornAtMs + (life.endsAtMs - bornAtMs) * between(0.45, 0.5)
    rotation = clock.after(Math.max(firstRetryMs, atMs - clock.now()), () => {
      log.info({ generation: generation.number }, 'vault.token_replaced')
      void login(true)
    })
  }

  /** Takes note that Vault no longer knows a token: the leases made under it are gone with it. */
  async function lose(generation: Held): Promise<void> {
    if (!held.includes(generation)) return
    drop(generation)
    if (current === generation) {
      current = undefined
      problem = 'Vault no longer accepts the token of the broker'
      if (generation.given) problem += '; give the broker a periodic token'
      if (!closed) void login(true)
    }
    await save()
    const grants = await hanging.count(generation.number)
    const fields = { generation: generation.number, grants }
    if (grants === 0) return log.info(fields, 'vault.token_ended')
    log.error(fields, 'vault.token_lost')
    deps.onLost?.(generation.number)
  }

  function drop({ number }: Generation): void {
    held.find((generation) => generation.number === number)?.timer?.cancel()
    held = held.filter((generation) => generation.number !== number)
  }

  async function isGone(token: Secret<string>): Promise<boolean> {
    try {
      await deps.read('auth/token/lookup-self', token)
      return false
    } catch (thrown) {
      return thrown instanceof VaultFault && thrown.kind === 'denied'
    }
  }

  return {
    async start() {
      unseen = false
      await login(false)
    },
    async current() {
      if (current === undefined && unseen && auth.method === 'token') return { token: auth.token, generation: 1 }
      // While a retry is scheduled, further callers do not hammer Vault.
      if (current === undefined && (failures === 0 || attempt !== undefined)) await login(false)
      if (current === undefined) {
        throw new VaultFault('not_logged_in', `the broker is not logged in to Vault: ${problem}`)
      }
      return { token: current.token, generation: current.number }
    },
    async isDead(token) {
      if (clock.now() - seenAliveAtMs < aliveForMs && token === current?.token) return false
      if (!(await isGone(token))) {
        seenAliveAtMs = clock.now()
        return false
      }
      unseen = false
      const generation = held.find((each) => each.token === token)
      if (generation !== undefined) await lose(generation)
      await attempt
      return true
    },
    async renewLogin() {
      await login(true)
    },
    leasesEndMs(number) {
      const generation = number === undefined ? current : held.find((each) => each.number === number)
      return (generation?.life.endsAtMs ?? Number.POSITIVE_INFINITY) - leaseMarginMs
    },
    generations: () =>
      held.map((generation) => ({
        generation: generation.number,
        current: generation === current,
        bornAtMs: generation.bornAtMs,
        expiresAtMs: ifFinite(generation.life.expiresAtMs),
        endsAtMs: ifFinite(generation.life.endsAtMs),
      })),
    state: () => (current === undefined ? { ok: false, detail: problem } : { ok: true, detail: 'logged in' }),
    close() {
      closed = true
      for (const timer of [retry, rotation, ...held.map((generation) => generation.timer)]) timer?.cancel()
      lettingGo.close()
    },
  }
}

function backoffMs(failures: number, thrown?: unknown): number {
  const away = thrown instanceof VaultFault && thrown.code === 'vault_unavailable' && thrown.kind !== 'not_logged_in'
  return Math.min(away ? longestAwayRetryMs : longestRetryMs, firstRetryMs * 2 ** Math.min(20, failures - 1))
}

const ifFinite = (instantMs: number): number | undefined => (Number.isFinite(instantMs) ? instantMs : undefined)
