import type { Io } from './command.ts'

/** One line on a terminal, rewritten while the work goes on, once it has taken a second. */
export interface Progress {
  show(done: number): void
  clear(): void
}

/** `what` says what is counted, such as `entries exported`; `total` how many there will be. */
export function createProgress(io: Io, what: string, total: number): Progress {
  const startedMs = io.clock.now()
  let shownMs = startedMs + 800
  let shown = false
  return {
    show(done) {
      const now = io.clock.now()
      if (!io.isTty.stderr || now - shownMs < 200) return
      shownMs = now
      shown = true
      const share = total === 0 ? 100 : Math.min(100, Math.floor((done / total) * 100))
      io.stderr(`\r${done} ${what}, ${share} %, ${Math.round(done / ((now - startedMs) / 1000))} a second `)
    },
    clear() {
      if (shown) io.stderr('\r\u001b[2K')
    },
  }
}
