import { randomBytes } from 'node:crypto'

const alphanumeric = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** Uniform random text over letters and digits. */
export function randomText(length: number): string {
  let text = ''
  while (text.length < length) {
    // 248 is the greatest multiple of 62 in a byte: what is above would favour the first letters.
    for (const byte of randomBytes(length)) if (byte < 248) text += alphanumeric[byte % 62]
  }
  return text.slice(0, length)
}

/** A password of 20 characters that has each class a strict server may ask for. */
export function randomPassword(): string {
  for (;;) {
    const text = `${randomText(4)}-${randomText(15)}`
    if (/[a-z]/.test(text) && /[A-Z]/.test(text) && /\d/.test(text)) return text
  }
}
