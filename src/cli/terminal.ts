// Control characters drive the terminal, bidirectional marks reorder what is read, and invisible ones hide text.
const unsafe = /[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu

/**
 * Text from elsewhere (a broker's answer, a policy file, a claim) made harmless on a terminal: what would move the cursor,
 * reorder or hide text is written as `\u{…}`. Newlines are escaped too unless `multiline`.
 */
export function printable(text: string, multiline = false): string {
  return text.replace(unsafe, (character) => {
    if (multiline && (character === '\n' || character === '\t')) return character
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
  })
}

/** JSON with the same characters written as escapes: the same document to a program, and harmless on a terminal. */
export function jsonText(value: unknown, indent?: number): string {
  return escaped(JSON.stringify(value, null, indent))
}

/** The same escapes in text that already is JSON, or lines of it. */
export function escaped(text: string): string {
  return text.replace(unsafe, (character) => {
    if (character === '\n') return character
    return [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join('')
  })
}

/** Aligns columns with two spaces between them; every cell is made `printable`. Empty when there are no rows. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return ''
  const cells = [head, ...rows].map((row) => row.map((cell) => printable(cell)))
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}
