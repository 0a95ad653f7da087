import { VaultError } from './backend.ts'

const units = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600, d: 86_400 } as const

/**
 * Seconds in any of the forms Vault takes: a number, digits, or parts with units such as `1h30m`.
 * @throws VaultError 400 in Go's words
 */
export function seconds(value: unknown): number | undefined {
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value === 'number' && Number.isFinite(value)) return Math.trunc(value)
  const text = String(value)
  if (/^-?\d+$/.test(text)) return Number(text)
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h|d))+$/.test(text)) {
    throw new VaultError(400, `time: invalid duration ${JSON.stringify(text)}`)
  }
  let total = 0
  for (const [, amount = '0', unit = 's'] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)/g)) {
    total += Number(amount) * units[unit as keyof typeof units]
  }
  return Math.trunc(total)
}

/** A duration as Go prints it: `10h0m0s`, `1m30s`, `45s`. */
export function goDuration(total: number): string {
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60), total % 60]
  if (hours > 0) return `${hours}h${minutes}m${rest}s`
  return minutes > 0 ? `${minutes}m${rest}s` : `${rest}s`
}

/** A duration in Go's words, with the parts that are zero left out as Vault prints it: `1h`, `1h30m`, `45s`. */
export function spoken(total: number): string {
  const parts = [
    [Math.floor(total / 3600), 'h'],
    [Math.floor((total % 3600) / 60), 'm'],
    [total % 60, 's'],
  ] as const
  return parts.map(([amount, unit]) => (amount === 0 ? '' : `${amount}${unit}`)).join('') || '0s'
}

export function text(value: unknown, otherwise = ''): string {
  return value === undefined || value === null ? otherwise : String(value)
}

/** Vault reads booleans from JSON and from the words a form may hold. */
export function flag(value: unknown, otherwise: boolean): boolean {
  if (value === undefined || value === null) return otherwise
  return value === true || value === 1 || ['true', '1', 't', 'TRUE', 'True'].includes(String(value))
}

export function count(value: unknown, otherwise = 0): number {
  const number = Number(value ?? otherwise)
  return Number.isFinite(number) ? Math.trunc(number) : otherwise
}

/** A list, or one string that holds one; commas separate. */
export function commaList(value: unknown): readonly string[] {
  if (value === undefined || value === null || value === '') return []
  const parts = Array.isArray(value) ? value.map(String) : String(value).split(',')
  return parts.map((part) => part.trim()).filter((part) => part !== '')
}

/** A list, or one string that is its only element: SQL holds commas. */
export function statements(value: unknown): readonly string[] {
  if (value === undefined || value === null || value === '') return []
  return Array.isArray(value) ? value.map(String) : [String(value)]
}

/** A map of text; `undefined` when there is none. */
export function textMap(value: unknown): Readonly<Record<string, string>> | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, String(item)]))
}
