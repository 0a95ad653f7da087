import { type ParseArgsConfig, parseArgs } from 'node:util'
import { nearest } from '../base/nearest.ts'
import { UsageError } from './command.ts'

type OptionTable = NonNullable<ParseArgsConfig['options']>
type Parsed<O extends OptionTable> = ReturnType<typeof parseArgs<{ options: O; allowPositionals: true; strict: true }>>

/**
 * Parses the arguments of one command strictly. `names` are the positional arguments it takes, in the words of its usage
 * line; a name in brackets (`[DIR]`) may be left out and one ending in `…` takes all that follow.
 * @throws UsageError for an unknown option (with the nearest known one), a missing or unwanted value, a repeated option
 * that is not `multiple`, and too few or too many positional arguments.
 */
export function parseOptions<const O extends OptionTable>(
  args: readonly string[],
  options: O,
  names: readonly string[] = [],
): { readonly values: Parsed<O>['values']; readonly positionals: string[] } {
  refuseBadOptions(args, options)
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
  refuseBadPositionals(positionals, names)
  return { values, positionals }
}

function refuseBadOptions(args: readonly string[], options: OptionTable): void {
  const seen = new Set<string>()
  const { tokens } = parseArgs({ args: [...args], options, allowPositionals: true, strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined
    if (option === undefined) {
      const guess = nearest(token.name, Object.keys(options))
      throw new UsageError(`unknown option ${token.rawName}${guess === undefined ? '' : `; did you mean --${guess}?`}`)
    }
    if (option.type === 'boolean' && token.value !== undefined) {
      throw new UsageError(`${token.rawName} takes no value`)
    }
    if (option.type === 'string') refuseBadValue(token)
    if (option.multiple !== true && seen.has(token.name)) throw new UsageError(`${token.rawName} is given twice`)
    seen.add(token.name)
  }
}

function refuseBadValue(token: { rawName: string; value: string | undefined; inlineValue: boolean | undefined }): void {
  if (token.value === undefined || token.value === '') throw new UsageError(`${token.rawName} needs a value`)
  // `--ttl --json` is a forgotten value far more often than a value that starts with a hyphen.
  if (token.inlineValue !== true && /^-./.test(token.value)) {
    throw new UsageError(`${token.rawName} needs a value; one that starts with a hyphen is written ${token.rawName}=…`)
  }
}

function refuseBadPositionals(positionals: readonly string[], names: readonly string[]): void {
  const missing = names.find((name, at) => !name.startsWith('[') && at >= positionals.length)
  if (missing !== undefined) throw new UsageError(`${missing.replace('…', '')} is missing`)
  const open = names.at(-1)?.includes('…') === true
  const extra = positionals[names.length]
  if (extra !== undefined && !open) throw new UsageError(`unexpected argument "${extra}"`)
}
