import type { Clock, Timer } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { KeyFetchError } from './fetch-text.ts'
import { KeyDocumentError, type KeySet } from './jwks.ts'
import type { KeySource } from './key-source.ts'

/** How often keys are fetched anew in the background, give or take a tenth; whatever the server's cache headers ask for; a trust bundle has a say in it. */
export const refreshEveryMs = 5 * 60_000
/** Least time between two fetches that requests cause: for an unknown `kid`, or when there are no keys. */
export const coolDownMs = 10_000
/** How long keys stay in use when they cannot be fetched anew. */
export const keepKeysMs = 24 * 3600_000

const firstRetryMs = 1000
const longestRetryMs = 60_000

/** The keys of one issuer, as far as they are known now. */
export type KeysNow =
  | { readonly available: true; readonly keys: KeySet }
  | { readonly available: false; readonly detail: string; readonly retryAfterSeconds: number }

/** The cached keys of one issuer. */
export interface KeyCache {
  /** The keys now. With none yet, waits for the fetch that is under way, or causes one if the cool-down allows. */
  now(): Promise<KeysNow>
  /**
   * The keys after looking for one that the cached set lacks: joins the fetch that is under way, or causes one if the
   * cool-down allows; `undefined` when neither is so. However many requests ask, one fetch is under way at a time.
   */
  lookAgain(): Promise<KeysNow | undefined>
  status(): { readonly ready: boolean; readonly detail: string }
  /** Fetches now and then in the background until `close`. */
  start(): void
  close(): void
}

export interface KeyCacheOptions {
  /** Name of the Issuer document, for the log. */
  readonly issuer: string
  readonly source: KeySource
  readonly clock: Clock
  readonly log: Log
}

/** Keeps the keys of one issuer. Requests never wait for a fetch while the key they need is here. */
export function createKeyCache({ issuer, source, clock, log }: KeyCacheOptions): KeyCache {
  let loaded: { readonly keys: KeySet; readonly atMs: number } | undefined
  let failure: string | undefined
  let failures = 0
  let lastFetchMs = Number.NEGATIVE_INFINITY
  let underWay: Promise<void> | undefined
  let timer: Timer | undefined
  let state: 'idle' | 'started' | 'closed' = 'idle'

  const load = async (): Promise<void> => {
    try {
      const keys = await source.load()
      loaded = { keys, atMs: clock.now() }
      if (failure !== undefined) log.info({ issuer, keys: keys.size }, 'issuer_keys_back')
      failure = undefined
      failures = 0
    } catch (error) {
      failures++
      const known = error instanceof KeyFetchError || error instanceof KeyDocumentError
      const detail = known ? error.message : 'the keys cannot be loaded'
      // Said once per cause, not once per try.
      if (detail !== failure) log.warn({ issuer, detail }, 'issuer_keys_failed')
      failure = detail
    }
  }

  const refresh = (): Promise<void> => {
    if (underWay !== undefined) return underWay
    lastFetchMs = clock.now()
    underWay = load().finally(() => {
      underWay = undefined
      schedule()
    })
    return underWay
  }

  const schedule = (): void => {
    timer?.cancel()
    timer = undefined
    if (state !== 'started' || !source.changes) return
    const delayMs =
      failure === undefined
        ? (loaded?.keys.refreshAfterMs ?? refreshEveryMs)
        : Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures - 1, 10))
    // Jitter keeps replicas that started together from asking together.
    timer = clock.after(delayMs * (0.9 + Math.random() * 0.2), () => void refresh())
  }

  const coolDownLeftMs = (): number => {
    const sinceMs = clock.now() - lastFetchMs
    // A clock that was set back must not stop fetching until it has caught up.
    return sinceMs < 0 ? 0 : Math.max(0, coolDownMs - sinceMs)
  }

  const current = (): KeysNow => {
    const unavailable = (detail: string): KeysNow => ({
      available: false,
      detail,
      retryAfterSeconds: Math.max(1, Math.ceil(coolDownLeftMs() / 1000)),
    })
    if (loaded === undefined) return unavailable(failure ?? 'the keys are not loaded yet')
    if (source.changes && clock.now() - loaded.atMs >= keepKeysMs) {
      return unavailable(`the last keys are older than ${keepKeysMs / 3600_000} h; ${failure ?? 'not fetched since'}`)
    }
    return { available: true, keys: loaded.keys }
  }

  const mayFetch = (): boolean => state !== 'closed' && (underWay !== undefined || coolDownLeftMs() === 0)

  return {
    async now() {
      const now = current()
      if (now.available || !mayFetch()) return now
      await refresh()
      return current()
    },
    async lookAgain() {
      if (!source.changes || !mayFetch()) return undefined
      await refresh()
      return current()
    },
    status() {
      const now = current()
      if (!now.available) return { ready: false, detail: now.detail }
      const count = `${now.keys.size} ${now.keys.size === 1 ? 'key' : 'keys'}`
      return { ready: true, detail: failure === undefined ? count : `${count}, not renewed: ${failure}` }
    },
    start() {
      if (state !== 'idle') return
      state = 'started'
      if (loaded === undefined) void refresh()
      else schedule()
    },
    close() {
      state = 'closed'
      timer?.cancel()
    },
  }
}
