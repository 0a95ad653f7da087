import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMap, isSeq, parseAllDocuments } from 'yaml'

/** Policies that the demo may edit: those of whoever runs it stay as they are. */
export interface EditablePolicies {
  readonly dir: string
  /** Takes a purpose out of a workload, as its owner would with an editor. */
  dropPurpose(workload: string, purpose: string): Promise<void>
  remove(): Promise<void>
}

export async function copyOfPolicies(from: string): Promise<EditablePolicies> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-demo-policies-'))
  await cp(from, dir, { recursive: true })
  return {
    dir,
    async dropPurpose(workload, purpose) {
      for (const file of await readdir(dir, { recursive: true })) {
        if (!file.endsWith('.yaml')) continue
        const path = join(dir, file)
        const documents = parseAllDocuments(await readFile(path, 'utf8'))
        if (!Array.isArray(documents)) continue
        const document = documents.find((each) => each.get('kind') === 'Workload' && each.get('name') === workload)
        const purposes = document?.get('purposes')
        if (!isSeq(purposes)) continue
        const at = purposes.items.findIndex((item) => isMap(item) && item.get('id') === purpose)
        if (at < 0) continue
        purposes.delete(at)
        await writeFile(path, documents.map(String).join(''))
        return
      }
      throw new Error(`no workload ${workload} with a purpose ${purpose} is in these policies`)
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  }
}
