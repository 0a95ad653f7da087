import type { Io } from './command.ts'

/** One line on a terminal, rewritten as work goes on: how much, the share of the whole, the rate and the time left. */
export interface ProgressBar {
  show(done: number, total: number): void
  /** Takes the line away, so that something else can be written. */
  clear(): void
}

const width = 24
/** What is over sooner needs no bar. */
const firstMs = 800
const everyMs = 200

/** Writes nothing unless stderr is a terminal. The rate is that of this process: what was done before it counts as done only. */
export function createProgressBar(io: Io, what: string): ProgressBar {
  const startedMs = io.clock.now()
  let nextMs = startedMs + firstMs
  let before: number | undefined
  let shown = false
  return {
    show(done, total) {
      before ??= done
      const now = io.clock.now()
      if (!io.isTty.stderr || now < nextMs) return
      nextMs = now + everyMs
      shown = true
      const perSecond = (done - before) / ((now - startedMs) / 1000)
      const filled = Math.floor((done / total) * width)
      const bar = `${'█'.repeat(filled)}${'░'.repeat(width - filled)}`
      const share = `${Math.floor((done / total) * 100)} %`.padStart(5)
      const left = perSecond > 0 ? `, ${duration((total - done) / perSecond)} left` : ''
      io.stderr(`\r\u001b[2K${bar}${share}  ${grouped(done)} of ${grouped(total)} ${what}, ${grouped(perSecond)}/s${left}`)
    },
    clear() {
      if (shown) io.stderr('\r\u001b[2K')
    },
  }
}

const grouped = (value: number): string => Math.round(value).toLocaleString('en-GB')

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
