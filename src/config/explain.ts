import type { z } from 'zod'
import { nearest } from '../base/nearest.ts'
import type { ConfigProblem } from './config.ts'
import { listSettings, type Setting } from './settings.ts'

/** Says where in the source a path stands; with `key`, where that key of it is written. */
export type Locate = (path: readonly PropertyKey[], key?: string) => string

/** Turns one finding of the schema into problems, each at the place it was written and with what to write instead. */
export function explain(
  issue: z.core.$ZodIssue,
  origins: ReadonlyMap<string, string>,
  locate: Locate,
): ConfigProblem[] {
  const path = issue.path.map(String)
  const key = path.join('.')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((unknown) => ({
      where: locate(issue.path, unknown),
      message: `unknown key ${[...path, unknown].join('.')}`,
      fix: fixForUnknown(path, unknown),
    }))
  }
  if (issue.code === 'invalid_union') {
    const meant = issue.errors.find((errors) =>
      errors.every((error) => error.code !== 'invalid_type' || error.path.length > 0),
    )
    const inner = meant?.map((error) => ({ ...error, path: [...issue.path, ...error.path] })) ?? []
    if (inner.length > 0) return inner.flatMap((error) => explain(error, origins, locate))
  }
  const where = origins.get(key) ?? locate(issue.path)
  const setting = listSettings().find((candidate) => candidate.path.join('.') === key)
  if (isMissing(issue)) {
    return [
      {
        where,
        message: `${key} is missing`,
        fix: setting === undefined ? (fixesForMissing.get(key) ?? `add ${key}`) : fixForMissing(setting),
      },
    ]
  }
  const subject = key === '' ? 'the file' : key
  const message = issue.message.replace(/^Invalid (input|option|string): /, '')
  const fix = fixOfRule(issue) ?? (setting === undefined ? 'correct it' : fixForWrong(setting))
  return [{ where, message: `${subject}: ${message}`, fix }]
}

/** Nothing was written there, whichever of several forms would have been right. */
function isMissing(issue: z.core.$ZodIssue): boolean {
  if (issue.code === 'invalid_union') {
    return issue.errors.length > 0 && issue.errors.every(([first]) => first?.path.length === 0 && isMissing(first))
  }
  return issue.code === 'invalid_type' && issue.message.endsWith('received undefined')
}

// Keys that hold further keys, where naming the key alone would not help.
const fixesForMissing: ReadonlyMap<string, string> = new Map([
  ['vault', 'add vault.address and vault.auth, or set VAULT_ADDR and VAULT_TOKEN'],
  ['vault.auth', 'add vault.auth with method approle, kubernetes, jwt or token, or set VAULT_TOKEN'],
])

// Rules that know the way out carry it along.
function fixOfRule(issue: z.core.$ZodIssue): string | undefined {
  const fix: unknown = issue.code === 'custom' ? issue.params?.fix : undefined
  return typeof fix === 'string' ? fix : undefined
}

function fixForMissing({ path, variable, description }: Setting): string {
  return `add ${path.join('.')} or set ${variable}: ${description}`
}

function fixForWrong({ values, defaultText, description }: Setting): string {
  if (values !== undefined) return `write one of ${values.join(', ')}`
  return `${description}${defaultText === undefined ? '' : ` (default ${defaultText})`}`
}

function fixForUnknown(path: readonly string[], unknown: string): string {
  const known = [
    ...new Set(
      listSettings()
        .filter((setting) => path.every((part, at) => setting.path[at] === part))
        .map((setting) => setting.path[path.length] ?? ''),
    ),
  ]
  if (known.length === 0) return 'remove it'
  const guess = nearest(unknown, known)
  return guess === undefined ? `remove it; known keys here: ${known.join(', ')}` : `did you mean ${guess}?`
}
