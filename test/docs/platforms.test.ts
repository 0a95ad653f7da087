import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createVerifier } from '../../src/identity/verify.ts'
import type { PolicySet } from '../../src/policy/compile.ts'
import type { IssuerPolicy } from '../../src/policy/issuer.ts'
import { loadPolicies, problemText } from '../../src/policy/load.ts'
import { recordedLog } from '../identity/setup.ts'
import { fakeClock } from '../support/clock.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, 'docs/platforms')
const pages = (await readdir(folder)).filter((name) => name.endsWith('.md'))
const blocks = (page: string, language: string): string[] =>
  [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, name]) => name === language).map(([, , text = '']) => text)

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'RS256' })
})
afterAll(() => issuer.close())

/** The example policies with those of the page beside them, and what is said of the latter. */
async function loadPage(page: string): Promise<{ readonly set: PolicySet; readonly said: readonly string[] }> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-page-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await cp(join(root, 'policies'), dir, { recursive: true })
  await writeFile(join(dir, 'page.yaml'), blocks(page, 'yaml').join('---\n'))
  const result = await loadPolicies(dir)
  if (!result.ok) throw new Error(result.problems.map(problemText).join('\n'))
  return { set: result.set, said: result.set.warnings.map(problemText).filter((line) => line.startsWith('page.yaml')) }
}

/** The page's Issuers, with the keys of the test issuer in the form that each flavour publishes. */
const withTestKeys = (policy: IssuerPolicy): IssuerPolicy => {
  const use = policy.flavour === 'spiffe' ? 'jwt-svid' : 'sig'
  return { ...policy, keys: { jwks: { keys: issuer.jwks().keys.map((key) => ({ ...key, use })) } } }
}

describe.each(pages)('%s', (name) => {
  test('its policies load beside the examples, and nothing is said against them', async () => {
    const page = await readFile(join(folder, name), 'utf8')
    expect(blocks(page, 'yaml').length).toBeGreaterThan(0)
    const { set, said } = await loadPage(page)
    expect(said).toEqual([])
    expect(set.issuers.length).toBeGreaterThan(7)
  })

  test('the tokens it shows are of its workloads, in an environment of their purposes', async () => {
    const page = await readFile(join(folder, name), 'utf8')
    const { set } = await loadPage(page)
    const clock = fakeClock()
    const policies = set.issuers.map(withTestKeys)
    const verifier = createVerifier({ issuers: () => policies, clock, log: recordedLog() })
    const tokens = blocks(page, 'json').map((text): Record<string, unknown> => JSON.parse(text))
    expect(tokens.length).toBeGreaterThan(0)
    for (const claims of tokens) {
      const token = await issuer.sign({ iss: undefined, ...claims }, { now: clock.now() / 1000 })
      const { result, reasons } = await verifier.explain(token)
      if (!result.ok) throw new Error(JSON.stringify(reasons.at(-1)))
      const [workload, ...others] = set.index.match(result.value.issuer, result.value.claims)
      expect(others).toEqual([])
      expect(workload?.policy.purposes.map(({ environment }) => environment)).toContain(result.value.environment)
    }
    verifier.close()
  })
})
