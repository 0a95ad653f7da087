const secondsPerUnit = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** The written form of a duration: a whole number and one of s, m, h, d. */
export const durationPattern = /^([1-9]\d{0,8})([smhd])$/

/** Seconds in a written duration such as `15m`; `undefined` when it is not one. */
export function parseDuration(text: string): number | undefined {
  const match = durationPattern.exec(text)
  if (match === null) return undefined
  return Number(match[1]) * secondsPerUnit[match[2] as keyof typeof secondsPerUnit]
}

/** The shortest written form of a whole number of seconds, such as `15m`. */
export function formatDuration(seconds: number): string {
  for (const unit of ['d', 'h', 'm'] as const) {
    if (seconds > 0 && seconds % secondsPerUnit[unit] === 0) return `${seconds / secondsPerUnit[unit]}${unit}`
  }
  return `${seconds}s`
}
