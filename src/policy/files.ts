import type { Dirent } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import { createPacer } from '../base/pacer.ts'
import { maxFileBytes } from './yaml.ts'

/** The text of one file, or why it could not be read. */
export interface PolicyFile {
  /** Path below the folder, with `/` on every platform. */
  readonly name: string
  readonly path: string
  readonly text: string
  readonly problem: { readonly message: string; readonly fix: string } | undefined
}

const maxFiles = 50_000
const readAtOnce = 32

/** Every `.yaml` and `.yml` file below a folder in the order of their names, but for hidden ones and those `skip` names. */
export async function readPolicyFiles(dir: string, skip: ReadonlySet<string>): Promise<readonly PolicyFile[]> {
  const names = await listFiles(dir, '', skip)
  const files: PolicyFile[] = new Array(names.length)
  let next = 0
  const work = async (): Promise<void> => {
    for (let at = next++; at < names.length; at = next++) files[at] = await readOne(dir, names[at] ?? '')
  }
  await Promise.all(Array.from({ length: readAtOnce }, work))
  return files
}

async function listFiles(root: string, prefix: string, skip: ReadonlySet<string>): Promise<string[]> {
  const entries = await readdir(join(root, prefix), { withFileTypes: true })
  const pace = createPacer()
  const names: string[] = []
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const name = `${prefix}${entry.name}`
    // Hidden names are what editors and Kubernetes volumes (`..data`) leave next to the real ones.
    if (entry.name.startsWith('.') || skip.has(name)) continue
    // A link to a folder is not followed: it could lead around in a circle.
    if (entry.isDirectory()) names.push(...(await listFiles(root, `${name}/`, skip)))
    else if (/\.ya?ml$/.test(entry.name) && !(await isLinkToFolder(entry, join(root, name)))) names.push(name)
    if (names.length > maxFiles) throw new Error(`more than ${maxFiles} files`)
    await pace()
  }
  return names
}

const isLinkToFolder = async (entry: Dirent, path: string): Promise<boolean> =>
  entry.isSymbolicLink() &&
  (await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  ))

async function readOne(root: string, name: string): Promise<PolicyFile> {
  const path = join(root, name)
  try {
    const { size } = await stat(path)
    if (size > maxFileBytes)
      return { name, path, text: '', problem: { message: 'the file is larger than 1 MiB', fix: 'split it' } }
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
    return { name, path, text, problem: undefined }
  } catch (error) {
    const encoding = error instanceof TypeError
    const problem = encoding
      ? { message: 'the file is not UTF-8', fix: 'save it as UTF-8' }
      : { message: `the file cannot be read: ${messageOf(error)}`, fix: 'let the broker read it' }
    return { name, path, text: '', problem }
  }
}
