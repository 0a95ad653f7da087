import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { PolicySet } from '../../src/policy/compile.ts'
import { loadPolicies, problemText } from '../../src/policy/load.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, 'docs/platforms')

/** Names of the pages about platforms. */
export const pages = (await readdir(folder)).filter((name) => name.endsWith('.md') && name !== 'README.md')

/** What a page about a platform shows. */
interface Page {
  /** The example policies with those of the page beside them. */
  readonly set: PolicySet
  /** What is said of the policies of the page. */
  readonly said: readonly string[]
  /** Claims of the tokens it shows. */
  readonly tokens: readonly Record<string, unknown>[]
  /** Names of its workloads. */
  readonly workloads: readonly string[]
}

/** Reads a page; its policies must load. Blocks of `yaml` are policies, those of `yml` files of the platform. */
export async function readPage(name: string): Promise<Page> {
  const text = await readFile(join(folder, name), 'utf8')
  const blocks = (language: string): string[] =>
    [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, of]) => of === language).map(([, , block = '']) => block)
  const dir = await mkdtemp(join(tmpdir(), 'writ-page-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await cp(join(root, 'policies'), dir, { recursive: true })
  const policies = blocks('yaml').join('---\n')
  await withoutExamplesOf(dir, policies)
  await writeFile(join(dir, 'page.yaml'), policies)
  const result = await loadPolicies(dir)
  if (!result.ok) throw new Error(result.problems.map(problemText).join('\n'))
  return {
    set: result.set,
    said: result.set.warnings.map(problemText).filter((line) => line.startsWith('page.yaml')),
    tokens: blocks('json').map((block): Record<string, unknown> => JSON.parse(block)),
    workloads: [...policies.matchAll(/^kind: Workload\nname: (\S+)$/gm)].map(([, workload = '']) => workload),
  }
}

/** Takes the example Issuers out whose url an Issuer of the page has, with their workloads: two with one url never load. */
async function withoutExamplesOf(dir: string, policies: string): Promise<void> {
  const urlOf = (text: string): string | undefined => /^url: (\S+)$/m.exec(text)?.[1]
  const urls = [...policies.matchAll(/^url: (\S+)$/gm)].map(([, url]) => url)
  for (const file of await readdir(join(dir, 'issuers'))) {
    const text = await readFile(join(dir, 'issuers', file), 'utf8')
    if (!urls.includes(urlOf(text))) continue
    await rm(join(dir, 'issuers', file))
    const name = /^name: (\S+)$/m.exec(text)?.[1]
    for (const workload of await readdir(join(dir, 'workloads'))) {
      const path = join(dir, 'workloads', workload)
      if (new RegExp(`issuer: ${name}\\b`).test(await readFile(path, 'utf8'))) await rm(path)
    }
  }
}
