import { z } from 'zod'
import { BrokerFault } from '../base/errors.ts'
import type { MintTarget } from './engine.ts'

const segment = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?$/

/**
 * Joins the parts of a Vault path. Policies are checked when they are loaded; this is the second lock on the same door:
 * no part can climb out of its mount, start a query or hide an escape.
 * @throws BrokerFault `engine_refused` when a part could mean something else than its text
 */
export function vaultPath(...parts: readonly string[]): string {
  const path = parts.join('/')
  if (!path.split('/').every((part) => segment.test(part))) {
    throw new BrokerFault('engine_refused', `${JSON.stringify(path.slice(0, 200))} is not a path of plain segments`)
  }
  return path
}

/**
 * Reads the parameters of a target with its engine's schema.
 * @throws BrokerFault `engine_refused` naming the parameter, which is policy text and not a secret
 */
export function paramsOf<T>(schema: z.ZodType<T>, target: MintTarget): T {
  const parsed = schema.safeParse(target.params)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const at = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : (issue?.path.join('.') ?? '')
  throw new BrokerFault(
    'engine_refused',
    `Credential ${target.credential}: params.${at} is not one the ${target.engine} engine takes: ${issue?.message ?? ''}`,
  )
}

/** One text or a list of texts, as Vault takes them: joined by commas. */
export const textListParam: z.ZodType<readonly string[]> = z.union([
  z.string().transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  ),
  z.array(z.string()),
])
