import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Something that was written where it must hold no secret. */
export interface Sink {
  readonly name: string
  readonly bytes: Buffer
}

/** A secret that was found, and where. The secret itself is named by its label alone. */
export interface Finding {
  readonly sink: string
  readonly label: string
  readonly form: string
}

// Shorter pieces occur by chance.
const leastLength = 12

/** The forms in which a secret could leave: as it is, as JSON and URLs write it, in hexadecimal, and within base64 text. */
export function formsOf(secret: string): readonly (readonly [form: string, text: string])[] {
  const bytes = Buffer.from(secret)
  // Base64 of a text depends on where in the whole it begins; the middle of each of the three is the same wherever it is.
  const base64 = [0, 1, 2].map((shift): [string, string] => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64url')
    return [`base64 at ${shift}`, text.slice(shift === 0 ? 0 : 4, -4)]
  })
  const json = JSON.stringify(secret).slice(1, -1)
  const all: [string, string][] = [
    ['plain', secret],
    ['JSON', json],
    ['JSON within JSON', JSON.stringify(json).slice(1, -1)],
    ['URL', encodeURIComponent(secret)],
    ['hexadecimal', bytes.toString('hex')],
    ...base64,
  ]
  return all.filter(([, text]) => text.length >= leastLength)
}

/** Looks for every secret in every sink. Base64 is compared in its URL-safe alphabet. */
export function findSecrets(secrets: ReadonlyMap<string, string>, sinks: readonly Sink[]): readonly Finding[] {
  const found: Finding[] = []
  for (const { name, bytes } of sinks) {
    const text = bytes.toString('latin1')
    const safe = text.replaceAll('+', '-').replaceAll('/', '_')
    for (const [label, secret] of secrets) {
      for (const [form, needle] of formsOf(secret)) {
        const haystack = form.startsWith('base64') ? safe : text
        if (haystack.includes(Buffer.from(needle).toString('latin1'))) found.push({ sink: name, label, form })
      }
    }
  }
  return found
}

/** Every file below a folder, as sinks. */
export async function filesBelow(dir: string): Promise<readonly Sink[]> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Promise.all(files.map(async (name) => ({ name, bytes: await readFile(name) })))
}
