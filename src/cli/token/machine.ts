import { join } from 'node:path'
import { readBounded } from './bearer.ts'
import type { Setting } from './platform.ts'

/** What the firmware of a machine of each cloud says of it, and where. */
const marks = {
  /** Nitro instances; older ones have no such file. */
  aws: ['sys_vendor', 'Amazon EC2'],
  /** The same on every machine of Azure, and on none elsewhere. */
  azure: ['chassis_asset_tag', '7783-7084-3265-9085-8269-3286-77'],
  google: ['product_name', 'Google Compute Engine'],
} as const

/**
 * Whether the firmware says that this machine is one of that cloud. Nothing in a pod, where the identity of the machine is
 * not that of the workload.
 */
export async function machineSign(
  cloud: keyof typeof marks,
  { environment, places }: Setting,
): Promise<string | undefined> {
  if (environment.platform.inPod) return undefined
  const [file, text] = marks[cloud]
  const said = await readBounded(join(places.dmi, file), 256).catch(() => '')
  return said.trim() === text ? `the firmware of this machine says "${text}"` : undefined
}
