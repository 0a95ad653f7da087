import { VaultError } from './backend.ts'

/** A value of the part of HCL that policies are written in. */
export type HclValue = string | number | boolean | readonly HclValue[] | { readonly [key: string]: HclValue }

/** One `name "label" { … }` block. */
export interface HclBlock {
  readonly name: string
  readonly label: string
  readonly attributes: Readonly<Record<string, HclValue>>
}

const tokenPattern =
  /\s+|#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?\*\/|(?<string>"(?:[^"\\\n]|\\.)*")|(?<number>-?\d+(?:\.\d+)?)|(?<word>[A-Za-z_][\w-]*)|(?<mark>[{}[\]=:,])/y

function tokenize(source: string): string[] {
  const tokens: string[] = []
  tokenPattern.lastIndex = 0
  while (tokenPattern.lastIndex < source.length) {
    const at = tokenPattern.lastIndex
    const match = tokenPattern.exec(source)
    if (match === null) {
      const line = source.slice(0, at).split('\n').length
      throw new VaultError(400, `failed to parse policy: line ${line}: unexpected character`)
    }
    if (match.groups !== undefined) {
      const { string, number, word, mark } = match.groups
      const token = string ?? number ?? word ?? mark
      if (token !== undefined) tokens.push(token)
    }
  }
  return tokens
}

/**
 * Reads the blocks of a policy: strings, numbers, booleans, lists and maps, with comments. No interpolation, no heredoc.
 * @throws VaultError 400
 */
export function parseHcl(source: string): readonly HclBlock[] {
  const tokens = tokenize(source)
  let at = 0
  const fail = (): never => {
    throw new VaultError(400, `failed to parse policy: unexpected ${tokens[at] ?? 'end of file'}`)
  }
  const take = (expected?: string): string => {
    const token = tokens[at]
    if (token === undefined || (expected !== undefined && token !== expected)) return fail()
    at++
    return token
  }
  const unquoted = (token: string): string => (token.startsWith('"') ? String(JSON.parse(token)) : token)

  const value = (): HclValue => {
    const token = take()
    if (token === '[') {
      const items: HclValue[] = []
      while (tokens[at] !== ']') {
        items.push(value())
        if (tokens[at] === ',') at++
        else if (tokens[at] !== ']') fail()
      }
      at++
      return items
    }
    if (token === '{') return attributes()
    if (token.startsWith('"')) return unquoted(token)
    if (token === 'true' || token === 'false') return token === 'true'
    if (/^-?\d/.test(token)) return Number(token)
    at--
    return fail()
  }
  const attributes = (): Readonly<Record<string, HclValue>> => {
    const pairs: Record<string, HclValue> = Object.create(null)
    while (tokens[at] !== '}') {
      const key = take()
      if (!/^["A-Za-z_]/.test(key)) {
        at--
        fail()
      }
      if (tokens[at] === '=' || tokens[at] === ':') at++
      else if (tokens[at] !== '{') fail()
      pairs[unquoted(key)] = value()
      if (tokens[at] === ',') at++
    }
    at++
    return pairs
  }

  const blocks: HclBlock[] = []
  while (at < tokens.length) {
    const name = unquoted(take())
    if (tokens[at] === '=') {
      at++
      blocks.push({ name, label: '', attributes: { value: value() } })
      continue
    }
    const label = unquoted(take())
    take('{')
    blocks.push({ name, label, attributes: attributes() })
  }
  return blocks
}
