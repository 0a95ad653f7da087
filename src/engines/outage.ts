import type { Clock, Timer } from '../base/clock.ts'
import type { Log } from '../base/log.ts'

/** Tells a Vault that is away from a single call that failed. */
export interface Outage {
  /** A call got no usable answer: asks Vault for its health now, and while it is not well every two seconds. Single flight. */
  suspect(): void
  /** What is wrong with Vault as a whole; empty while nothing is known to be. */
  problem(): string
  close(): void
}

const againMs = 2_000

/** `ask` says what is wrong with Vault, or nothing. It is asked only after `suspect`, and never rejects. */
export function createOutage(deps: { ask: () => Promise<string>; clock: Clock; log: Log }): Outage {
  const { ask, clock, log } = deps
  let problem = ''
  let asking = false
  let closed = false
  let timer: Timer | undefined

  async function look(): Promise<void> {
    const found = await ask()
    if (closed) return
    if (found !== '' && problem === '') log.error({ problem: found }, 'vault.away')
    if (found === '' && problem !== '') log.info({}, 'vault.back')
    problem = found
    if (found === '') asking = false
    else timer = clock.after(againMs, () => void look())
  }

  return {
    suspect() {
      if (asking || closed) return
      asking = true
      void look()
    },
    problem: () => problem,
    close() {
      closed = true
      timer?.cancel()
    },
  }
}
