/** What one check came to. A warning is worth a look; a failure keeps the broker from doing its work. */
export interface Finding {
  /** What was looked at, such as `vault login`. */
  readonly check: string
  readonly verdict: 'ok' | 'warn' | 'fail'
  readonly detail: string
  /** What to do about it. */
  readonly fix?: string
}

export const good = (check: string, detail: string): Finding => ({ check, verdict: 'ok', detail })
export const doubtful = (check: string, detail: string, fix: string): Finding => ({
  check,
  verdict: 'warn',
  detail,
  fix,
})
export const bad = (check: string, detail: string, fix: string): Finding => ({ check, verdict: 'fail', detail, fix })
