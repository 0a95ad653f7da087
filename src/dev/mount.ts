import { VaultFault } from '../engines/faults.ts'
import type { VaultSession } from '../engines/vault-session.ts'
import type { CompiledCredential } from '../policy/compile.ts'

/** The policies ask for what cannot be set up here; the message says what to do. */
export class SetupRefused extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'SetupRefused'
  }
}

export const yearSeconds = 365 * 86_400

/** @throws SetupRefused when another engine is mounted there */
export async function ensureMount(session: VaultSession, path: string, type: string): Promise<void> {
  const { data } = await session.read('sys/mounts')
  const found = data?.[`${path}/`]
  if (found === undefined) {
    const options = type === 'kv' ? { options: { version: '2' } } : {}
    const config = type === 'pki' ? { config: { max_lease_ttl: `${10 * yearSeconds}s` } } : {}
    await session.write(`sys/mounts/${path}`, { type, description: 'made by writ dev', ...options, ...config })
    return
  }
  const actual = typeof found === 'object' && found !== null && 'type' in found ? String(found.type) : 'unknown'
  if (actual !== type) throw new SetupRefused(`the mount ${path} is of type ${actual}, and the policies need ${type}`)
}

/**
 * The mount of an engine whose other side (a directory, a cluster, a cloud) nobody here knows. Its mount is made where Vault has
 * the engine; connection and role are left to whoever runs it.
 * @throws SetupRefused when Vault has no such engine, or no mount whose engine the Credential does not say
 */
export async function leaveToOwner(
  session: VaultSession,
  { name, target }: CompiledCredential,
  { onProgress }: { readonly onProgress?: ((step: string) => void) | undefined },
): Promise<void> {
  const { engine, mount } = target
  if (engine === 'leased') {
    const { data } = await session.read('sys/mounts')
    if (data?.[`${mount}/`] !== undefined) return
    throw new SetupRefused(
      `Credential ${name}: writ dev cannot know which engine belongs at ${mount}; enable it in a Vault of yours and use writ dev --vault URL`,
    )
  }
  try {
    await ensureMount(session, mount, engine)
  } catch (cause) {
    if (!(cause instanceof VaultFault) || cause.kind !== 'rejected') throw cause
    throw new SetupRefused(
      `Credential ${name} needs the engine ${engine}, which this Vault does not have: use writ dev --vault bao (ldap, kubernetes, rabbitmq), or --vault URL of a Vault that has it`,
      { cause },
    )
  }
  onProgress?.(
    `mount ${mount}: writ dev cannot know the other side of ${engine}; set its config and roles up, and until then Credential ${name} is refused`,
  )
}
