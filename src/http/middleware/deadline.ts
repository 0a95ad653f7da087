import type { Clock } from '../../base/clock.ts'

/**
 * Settles with the work, or with `expired()` once `delayMs` have passed. The work goes on: its late result is handed
 * to `late`, because a credential minted too late for its caller must not stay alive.
 */
export function withDeadline<T>(
  clock: Clock,
  delayMs: number,
  work: Promise<T>,
  expired: () => T,
  late: (result: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let over = false
    const timer = clock.after(delayMs, () => {
      over = true
      resolve(expired())
    })
    work.then(
      (result) => {
        timer.cancel()
        if (over) late(result)
        else resolve(result)
      },
      (error: unknown) => {
        timer.cancel()
        reject(error)
      },
    )
  })
}
