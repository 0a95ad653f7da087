import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { codes } from '../src/base/codes.ts'
import { errorsPage } from '../src/http/docs-page.ts'

const src = fileURLToPath(new URL('../src', import.meta.url))
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .sort()
const textOf = (path: string): string => readFileSync(join(src, path), 'utf8')

interface Import {
  readonly from: string
  readonly to: string
  /** Erased before anything runs. */
  readonly typeOnly: boolean
  /** Another thread, started by URL: nothing of it is loaded here. */
  readonly worker?: true
}

/** Statements that import or re-export, dynamic imports, and files that are named by URL (workers). */
const statements = /^\s*(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s+'([^']+)'|^import\s+'([^']+)'/gm
const expressions = /\bimport\('([^']+)'\)|new URL\('([^']+\.ts)',\s*import\.meta\.url\)/g

function importsOf(path: string): Import[] {
  const text = withoutComments(textOf(path))
  const target = (specifier: string): string => relative(src, join(src, dirname(path), specifier))
  const found: Import[] = []
  for (const [, type, names = '', specifier, bare] of text.matchAll(statements)) {
    const to = specifier ?? bare ?? ''
    if (!to.startsWith('.')) continue
    const inner = /^\{([\s\S]*)\}$/
      .exec(names)?.[1]
      ?.split(',')
      .filter((name) => name.trim() !== '')
    const allTypes = inner !== undefined && inner.length > 0 && inner.every((name) => /^\s*type\s/.test(name))
    found.push({ from: path, to: target(to), typeOnly: type !== undefined || allTypes })
  }
  for (const [, dynamic, url] of text.matchAll(expressions)) {
    const to = dynamic ?? url ?? ''
    if (!to.startsWith('.')) continue
    found.push({ from: path, to: target(to), typeOnly: false, ...(url === undefined ? {} : { worker: true }) })
  }
  return found
}

const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')

const imports = files.flatMap(importsOf)

/** What a folder (or a file beside the folders) may import, as values or as types. `stage` stands for every stage. */
const stages = ['identity', 'policy', 'grants', 'engines', 'ledger', 'signals', 'governance']
const below = ['base', 'contract', 'state']
const allowed: Readonly<Record<string, readonly string[]>> = {
  base: [],
  contract: ['base'],
  config: ['base', 'contract'],
  state: ['base', 'contract'],
  ...Object.fromEntries(stages.map((stage) => [stage, below])),
  'broker.ts': [...below, ...stages],
  http: [...below, ...stages, 'broker.ts'],
  console: [...below, ...stages, 'broker.ts'],
  'readiness.ts': [...below, ...stages, 'broker.ts', 'http'],
  'compose.ts': [...below, ...stages, 'broker.ts', 'http', 'console', 'config', 'readiness.ts', 'version.ts'],
  witness: ['base', 'config', 'ledger', 'http'],
  dev: [...below, ...stages, 'broker.ts', 'http', 'config', 'version.ts'],
  cli: [...below, ...stages, 'broker.ts', 'http', 'config', 'compose.ts', 'dev', 'witness', 'version.ts'],
  'version.ts': [],
  'index.ts': ['base', 'contract'],
}

// The broker's story is one file, and so is the wiring; the folder beside each holds its chapters.
const partOf = (path: string): string => (path.split('/')[0] ?? '').replace(/^(broker|compose)$/, '$1.ts')

describe('imports', () => {
  it('are found by this test in every form the sources use', () => {
    expect(files.length).toBeGreaterThan(100)
    expect(imports.length).toBeGreaterThan(300)
    expect(imports).toContainEqual({ from: 'cli/main.ts', to: 'cli/commands/serve.ts', typeOnly: false })
    expect(imports).toContainEqual({ from: 'ledger/ledger.ts', to: 'ledger/entry.ts', typeOnly: true })
    const unread = files.filter(
      (path) => /from '\.|import\('\./.test(withoutComments(textOf(path))) && importsOf(path).length === 0,
    )
    expect(unread).toEqual([])
  })

  it('name files that exist', () => {
    expect(imports.filter(({ to }) => !files.includes(to))).toEqual([])
  })

  it('go one way: cli → compose → http → broker → stages → state → base', () => {
    const wrong = imports.filter(({ from, to, typeOnly }) => {
      const [mine, theirs] = [partOf(from), partOf(to)]
      if (mine === theirs) return false
      const mayTypes = typeOnly && stages.includes(mine) && stages.includes(theirs)
      return !mayTypes && !(allowed[mine] ?? []).includes(theirs)
    })
    expect(wrong.map(({ from, to }) => `${from} → ${to}`)).toEqual([])
  })

  it('know every folder', () => {
    expect([...new Set(files.map(partOf))].filter((part) => allowed[part] === undefined)).toEqual([])
  })

  it('never go round in circles, but for types, which are erased', () => {
    expect(cycles()).toEqual([])
  })

  // Two threads and 100 MiB: what reads the schema of entries would take a fifth of that in the thread that does not need it.
  it('reach the schema of entries from the verifier only when there is little to verify', () => {
    const reached = reachableStatically('cli/commands/ledger-verify.ts')
    expect(reached).toContain('ledger/verify/check.ts')
    expect(reached.filter((path) => /from 'zod'/.test(withoutTypeImports(textOf(path))))).toEqual([])
    expect(reached).not.toContain('ledger/source/tile-url.ts')
  })

  it('reach the development server from the commands alone, and only when one is chosen', () => {
    const outside = imports.filter(({ from, to }) => partOf(to) === 'dev' && !/^(dev|cli)\//.test(from))
    expect(outside).toEqual([])
    expect(
      reachableStatically('cli/main.ts').filter((path) => /^(dev|http|engines|policy|ledger)\//.test(path)),
    ).toEqual([])
    expect(reachableStatically('cli/commands/serve.ts').filter((path) => path.startsWith('dev/'))).toEqual([])
  })
})

describe('the environment', () => {
  it('is read in src/config alone', () => {
    const readers = files.filter((path) =>
      /\bprocess\s*(\?\.|\.)\s*env\b|\bprocess\s*(\?\.)?\[|\}\s*=\s*process\b|from '(node:)?process'/.test(
        withoutComments(textOf(path)),
      ),
    )
    expect(readers).toEqual(['config/environment.ts'])
  })
})

describe('the sources', () => {
  it('hold nothing that Node would have to compile, only types to strip', () => {
    const compiled = files.filter((path) =>
      /^\s*(export\s+)?(const\s+)?(enum|namespace|module)\s+\w+\s*\{/m.test(textOf(path)),
    )
    expect(compiled).toEqual([])
  })

  it('have no folder for what has no name', () => {
    expect(files.filter((path) => /(^|[/-])(utils?|helpers?|managers?|services?|misc|common)[/.-]/.test(path))).toEqual(
      [],
    )
  })
})

describe('every code', () => {
  it('has an anchor in /docs with its title and what to do', () => {
    const page = errorsPage()
    for (const [code, { title }] of Object.entries(codes)) {
      expect(page, code).toContain(`id="${code}"`)
      expect(page, code).toContain(title)
    }
  })
})

const withoutTypeImports = (text: string): string => text.replace(/^import type .*$/gm, '')

function reachableStatically(start: string): string[] {
  const seen = new Set([start])
  const dynamic = (path: string): Set<string> => {
    const found = [...withoutComments(textOf(path)).matchAll(expressions)].map(([, to]) => to ?? '')
    return new Set(found.map((to) => relative(src, join(src, dirname(path), to))))
  }
  for (const path of seen) {
    const later = dynamic(path)
    for (const { to, typeOnly, worker } of imports.filter(({ from }) => from === path)) {
      if (!typeOnly && !worker && !later.has(to)) seen.add(to)
    }
  }
  return [...seen]
}

function cycles(): string[] {
  const state = new Map<string, 'open' | 'done'>()
  const found: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      found.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
      return
    }
    state.set(path, 'open')
    for (const { to } of imports.filter(({ from, typeOnly, worker }) => from === path && !typeOnly && !worker))
      visit(to, [...trail, path])
    state.set(path, 'done')
  }
  for (const path of files) visit(path, [])
  return found
}
