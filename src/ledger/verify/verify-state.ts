import { readFile, stat } from 'node:fs/promises'
import type { z } from 'zod'
import { isCode, nodeDisk, replaceFile } from '../store/disk.ts'
import type { stateSchema, VerifyProgress, VerifyTarget } from './verify-state-schema.ts'

/** A state file that cannot be used. The message says why and quotes nothing of it. */
export class StateError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'StateError'
  }
}

/** Greatest size of a state file, that of a million live grants. */
const maxStateBytes = 256 * 1024 * 1024

/** Replaces the state file: a crash leaves the old one or the new one. @throws system errors */
export async function saveState(file: string, target: VerifyTarget, progress: VerifyProgress): Promise<void> {
  const levels = progress.levels.map((row) => row.toString('base64'))
  const kind = 'writ ledger verify, state 1'
  const state: z.input<typeof stateSchema> = { kind, target, progress: { ...progress, levels } }
  await replaceFile(nodeDisk, file, Buffer.from(JSON.stringify(state)), 0o600)
}

/**
 * The state in a file, or `undefined` when there is none. It is input like any other: what it says of the tree is proved by the
 * signed root, and what it says of keys by their statements. What it says of the story is its owner's to protect.
 * @throws StateError when it is not a state of that verification; system errors when it cannot be read
 */
export async function loadState(file: string, target: VerifyTarget): Promise<VerifyProgress | undefined> {
  const text = await readBounded(file)
  if (text === undefined) return undefined
  // Only now: a verification without a state needs none of it.
  const { stateSchema } = await import('./verify-state-schema.ts')
  const parsed = stateSchema.safeParse(jsonOf(text))
  if (!parsed.success) throw new StateError('it is not the state of a verification')
  const { target: saved, progress } = parsed.data
  if (saved.place !== target.place) throw new StateError('it is of another folder or URL')
  if (saved.form !== target.form) throw new StateError('it is of a verification with another --entries')
  if (saved.vkeys.toSorted().join('\n') !== target.vkeys.toSorted().join('\n')) {
    throw new StateError('it is of a verification with other keys')
  }
  return progress
}

async function readBounded(file: string): Promise<string | undefined> {
  try {
    const { size } = await stat(file)
    if (size > maxStateBytes) throw new StateError(`it is larger than ${maxStateBytes} bytes`)
    return await readFile(file, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
