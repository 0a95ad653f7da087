import { Buffer } from 'node:buffer'
import type { IssuedCredential } from '../../contract/credential.ts'
import { CommandError, exit, UsageError } from '../command.ts'
import type { IssuedAnswer } from '../obtain.ts'
import { fieldText, type Mapping } from '../secret-fields.ts'

/** Options that say what a client needs to know and the secret does not hold; `get` and `exec` share them. */
export const formatOptions = {
  host: { type: 'string' },
  port: { type: 'string' },
  database: { type: 'string' },
  server: { type: 'string' },
  ca: { type: 'string' },
  namespace: { type: 'string' },
  registry: { type: 'string' },
} as const

export type FormatOption = keyof typeof formatOptions
export type FormatValues = { readonly [name in FormatOption]?: string | undefined }

/** Where the text goes to, and what was asked for beside the format. */
export interface Context {
  readonly values: FormatValues
  readonly mapping: Mapping
  /** A person reads it. */
  readonly terminal: boolean
}

/** Writes a credential down. @throws CommandError when a field is missing, or cannot be written in this form; never quotes a value */
type Render<A> = (issued: A) => string

interface OfOne {
  /** Checks what can be checked before a credential is asked for. @throws UsageError */
  prepare(context: Context): Render<IssuedCredential>
}

interface OfSets {
  /** Whether it can hold the credentials of a set as well. */
  readonly sets: true
  prepare(context: Context): Render<IssuedAnswer>
}

/** The form in which one kind of client reads its credential. */
export type Format = {
  readonly name: string
  readonly takes: readonly FormatOption[]
  /** Clients are pointed at the folder that holds a file of this name, not at the file. */
  readonly folderWith?: string
} & (OfOne | OfSets)

/** Writes an answer down in that form. @throws UsageError for a set where the form is of one credential; see `refuseUnfit` */
export function rendering(format: Format, context: Context): Render<IssuedAnswer> {
  if ('sets' in format) return format.prepare(context)
  const render = format.prepare(context)
  return (answer) => {
    if ('credentials' in answer) throw new UsageError(`${format.name} holds one credential`)
    return render(answer)
  }
}

/** The first of these fields that the secret has. @throws CommandError naming the fields there are */
export function oneOf(issued: IssuedCredential, format: string, ...fields: readonly string[]): string {
  if (issued.delivery === 'wrapped') {
    throw new CommandError(exit.usage, `the secret is wrapped, and ${format} needs its fields`, 'use --delivery plain')
  }
  const [first = ''] = fields
  const field = fields.find((name) => Object.hasOwn(issued.secret, name)) ?? first
  const text = fieldText(issued, field)
  // Clients take an empty user or password for "none was given", and look elsewhere.
  if (text === '') throw unfit(format, field, 'is empty')
  return text
}

/** As `oneOf`, for a form that has no way to write a line break. */
export function lineOf(issued: IssuedCredential, format: string, ...fields: readonly string[]): string {
  const text = oneOf(issued, format, ...fields)
  if (/[\r\n]/.test(text)) throw unfit(format, fields.join(' or '), 'holds a line break')
  return text
}

/** A field that this form cannot hold. */
export function unfit(format: string, field: string, why: string): CommandError {
  return new CommandError(
    exit.fault,
    `the field "${field}" ${why}, which ${format} cannot express`,
    'use another --format',
  )
}

/** Refuses a line that the client's parser would cut in two. @throws CommandError */
export function refuseLong(line: string, maxBytes: number, format: string): string {
  if (Buffer.byteLength(line) <= maxBytes) return line
  throw new CommandError(exit.fault, `a line would be longer than the ${maxBytes} bytes that ${format} can hold`)
}

export const base64 = (text: string): string => Buffer.from(text).toString('base64')
