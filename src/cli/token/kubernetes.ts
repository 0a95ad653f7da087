import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { isAbsent, readTokenFile } from './bearer.ts'
import type { Platform } from './platform.ts'

/** A pod with a projected service account token for the broker. */
export const kubernetes: Platform = {
  name: 'kubernetes',
  sign: ({ places }) => fileSign(places.kubernetes),
  token: ({ places }) => readTokenFile(places.kubernetes),
}

/** That the file is there. One that is there and cannot be read is a sign as well: reading it then fails. */
export async function fileSign(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.F_OK)
  } catch (error) {
    if (isAbsent(error)) return undefined
  }
  return `${path} is there`
}
