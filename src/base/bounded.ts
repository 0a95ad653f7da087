/** Bounds outside text to what a ledger entry may hold, marking what was cut. Never throws. */
export function bounded(text: string, max = 512): string {
  // Lone surrogates have no UTF-8 form, and RFC 8785 refuses them.
  const whole = text.toWellFormed()
  return whole.length <= max ? whole : `${whole.slice(0, max - 1).toWellFormed()}…`
}
