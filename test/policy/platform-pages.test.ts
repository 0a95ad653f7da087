import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createVerifier } from '../../src/identity/verify.ts'
import type { PolicySet } from '../../src/policy/compile.ts'
import type { IssuerPolicy } from '../../src/policy/issuer.ts'
import { loadPolicies, problemText } from '../../src/policy/load.ts'
import { recordedLog } from '../identity/setup.ts'
import { fakeClock } from '../support/clock.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { folder } from './organisation.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const at = (...path: string[]): string => join(root, ...path)
const pages = (await readdir(at('docs/platforms'))).filter((name) => name.endsWith('.md') && name !== 'README.md')

/** Blocks of one language: `yaml` holds policies, `yml` files of a platform, `json` claims. */
const blocks = (page: string, language: string): string[] =>
  [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, name]) => name === language).map(([, , text = '']) => text)

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'RS256' })
})
afterAll(() => issuer.close())

/** The policies of a page beside the example teams, people and credentials, and what is said of them. */
async function loadPage(page: string): Promise<{ readonly set: PolicySet; readonly said: readonly string[] }> {
  const examples = ['teams', 'credentials', 'issuers/people.yaml', 'issuers/cluster-eu.yaml', 'issuers/agents.yaml']
  const files: Record<string, string> = { 'page.yaml': blocks(page, 'yaml').join('---\n') }
  for (const path of examples) {
    const names = path.endsWith('.yaml')
      ? [path]
      : (await readdir(at('policies', path))).map((name) => join(path, name))
    for (const name of names) files[name] = await readFile(at('policies', name), 'utf8')
  }
  const result = await loadPolicies(await folder(files))
  if (!result.ok) throw new Error(result.problems.map(problemText).join('\n'))
  return { set: result.set, said: result.set.warnings.map(problemText).filter((line) => line.startsWith('page.yaml')) }
}

/** The Issuer with the key of the test, in the form that its flavour publishes; no cluster is asked. */
const withTestKey = ({ token_review: _, ...policy }: IssuerPolicy): IssuerPolicy => {
  const use = policy.flavour === 'spiffe' ? 'jwt-svid' : 'sig'
  return { ...policy, keys: { jwks: { keys: issuer.jwks().keys.map((key) => ({ ...key, use })) } } }
}

describe.each(pages)('%s', async (name) => {
  const page = await readFile(at('docs/platforms', name), 'utf8')

  test('its policies load, and nothing is said against them', async () => {
    expect(blocks(page, 'yaml')).not.toEqual([])
    const { set, said } = await loadPage(page)
    expect(said).toEqual([])
    expect(set.workloads).not.toEqual([])
  })

  test('each token it shows passes, and is of one of its workloads in an environment of a purpose', async () => {
    const { set } = await loadPage(page)
    const clock = fakeClock()
    const policies = set.issuers.map(withTestKey)
    const verifier = createVerifier({ issuers: () => policies, clock, log: recordedLog() })
    const shown = blocks(page, 'json').map((text): Record<string, unknown> => JSON.parse(text))
    expect(shown).not.toEqual([])
    for (const claims of shown) {
      const { result, reasons } = await verifier.explain(
        await issuer.sign({ iss: undefined, ...claims }, { now: clock.now() / 1000 }),
      )
      if (!result.ok) throw new Error(JSON.stringify(reasons.at(-1)))
      const matched = set.index.match(result.value.issuer, result.value.claims)
      expect(matched).toHaveLength(1)
      expect(matched[0]?.policy.purposes.map(({ environment }) => environment)).toContain(result.value.environment)
    }
    verifier.close()
  })

  test('the index names it', async () => {
    expect(await readFile(at('docs/platforms/README.md'), 'utf8')).toContain(`](${name})`)
  })
})
