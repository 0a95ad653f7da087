import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { IssuedCredential } from '../contract/credential.ts'
import { exit, exitStatusOf } from './command.ts'
import { ProblemError } from './problem-error.ts'

/** Keeps one credential alive until `stop`. */
export interface Renewal {
  stop(): void
}

const shortestPauseMs = 1_000

/**
 * Renews at two thirds of the life that is left, each time. When the broker cannot be reached it tries again at half of what
 * remains; when it refuses, or gives no more time (a ceiling is reached), it says so once and stops: the child goes on with
 * what it has. Times of the broker are compared with each other only, so a clock that is wrong here does not matter.
 */
export function keepRenewed(deps: {
  readonly issued: IssuedCredential
  readonly renew: (grant: string) => Promise<{ readonly expires_at: string }>
  readonly clock: Clock
  readonly say: (text: string) => void
}): Renewal {
  const { issued, clock, say } = deps
  const aheadMs = Date.parse(issued.issued_at) - clock.now()
  const remainingMs = (expiresAt: string): number => Date.parse(expiresAt) - aheadMs - clock.now()
  let expiresAt = issued.expires_at
  let timer: Timer | undefined
  let stopped = false

  const sayEnd = (why: string): void => {
    if (expiresAt === null) return
    say(`${why}; the credential ends at ${expiresAt}`)
    timer = clock.after(remainingMs(expiresAt), () => say('the credential has ended, and the command is still running'))
  }

  const attempt = async (): Promise<void> => {
    try {
      const renewed = await deps.renew(issued.grant)
      if (stopped) return
      const gainedMs = Date.parse(renewed.expires_at) - Date.parse(expiresAt ?? renewed.expires_at)
      expiresAt = renewed.expires_at
      if (gainedMs < shortestPauseMs) sayEnd('policy gives this credential no more time')
      else schedule((remainingMs(expiresAt) * 2) / 3)
    } catch (error) {
      if (stopped || expiresAt === null) return
      if (error instanceof ProblemError && exitStatusOf(error.problem.code) !== exit.unavailable) {
        sayEnd(`the credential was not renewed: ${error.problem.title} (${error.problem.code})`)
      } else if (remainingMs(expiresAt) <= shortestPauseMs) {
        sayEnd(`the credential could not be renewed: ${messageOf(error)}`)
      } else {
        schedule(remainingMs(expiresAt) / 2)
      }
    }
  }

  const schedule = (delayMs: number): void => {
    timer = clock.after(Math.max(delayMs, shortestPauseMs), () => void attempt())
  }

  if (issued.expires_at !== null) {
    if (issued.renewable) schedule((remainingMs(issued.expires_at) * 2) / 3)
    else
      timer = clock.after(remainingMs(issued.expires_at), () =>
        say('the credential has ended, and the command is still running'),
      )
  }
  return {
    stop() {
      stopped = true
      timer?.cancel()
    },
  }
}
