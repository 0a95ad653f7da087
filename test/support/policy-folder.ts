import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A copy of the worked organisation that a test may change. */
export interface PolicyFolder {
  readonly dir: string
  /** Adds or replaces one file. */
  write(path: string, text: string): Promise<void>
  /** Changes one file; the change must change something. */
  edit(path: string, change: (text: string) => string): Promise<void>
  remove(path: string): Promise<void>
  close(): Promise<void>
}

const worked = fileURLToPath(new URL('../../policies', import.meta.url))
const day = (offsetDays: number): string => new Date(Date.now() + offsetDays * 86_400_000).toISOString().slice(0, 10)

/**
 * Copies `policies/`. The dates in it are moved to today, so that what was reviewed then is reviewed now: a test must
 * not begin to fail by the calendar.
 */
export async function copyPolicies(): Promise<PolicyFolder> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-policies-'))
  await cp(worked, dir, { recursive: true })
  const at = (path: string): string => join(dir, path)
  const edit = async (path: string, change: (text: string) => string): Promise<void> => {
    const before = await readFile(at(path), 'utf8')
    const after = change(before)
    if (after === before) throw new Error(`the edit leaves ${path} as it was`)
    await writeFile(at(path), after)
  }
  for (const name of [
    'checkout',
    'coding-agent',
    'nightly-report',
    'order-repair',
    'reporting-vendor',
    'shop-deploy',
  ]) {
    await edit(`workloads/${name}.yaml`, (text) => text.replaceAll('2026-11-02', day(-1)))
  }
  await edit('exceptions/nightly-report-static.yaml', (text) => text.replace(/until: \S+/, `until: ${day(30)}`))
  return {
    dir,
    edit,
    write: (path, text) => writeFile(at(path), text),
    remove: (path) => rm(at(path)),
    close: () => rm(dir, { recursive: true, force: true }),
  }
}
