import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createVerifier } from '../../src/identity/verify.ts'
import type { IssuerPolicy } from '../../src/policy/issuer.ts'
import { recordedLog } from '../identity/setup.ts'
import { fakeClock } from '../support/clock.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { pages, readPage } from './page.ts'

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer({ alg: 'RS256' })
})
afterAll(() => issuer.close())

/** An Issuer with the key of the test issuer, in the form that its flavour publishes. No cluster is asked about its tokens. */
function withTestKey({ token_review: _review, ...policy }: IssuerPolicy): IssuerPolicy {
  const use = policy.flavour === 'spiffe' ? 'jwt-svid' : 'sig'
  return { ...policy, keys: { jwks: { keys: issuer.jwks().keys.map((key) => ({ ...key, use })) } } }
}

test('the index names every page', async () => {
  const index = await readFile(new URL('../../docs/platforms/README.md', import.meta.url), 'utf8')
  expect(pages.filter((name) => !index.includes(`](${name})`))).toEqual([])
  expect(pages.length).toBeGreaterThanOrEqual(11)
})

describe.each(pages)('%s', (name) => {
  test('its policies load beside the examples, and nothing is said against them', async () => {
    const { said, workloads } = await readPage(name)
    expect(said).toEqual([])
    expect(workloads.length).toBeGreaterThan(0)
  })

  test('the tokens it shows are of its workloads, in an environment of their purposes', async () => {
    const { set, tokens, workloads } = await readPage(name)
    const clock = fakeClock()
    const policies = set.issuers.map(withTestKey)
    const verifier = createVerifier({ issuers: () => policies, clock, log: recordedLog() })
    expect(tokens.length).toBeGreaterThan(0)
    for (const claims of tokens) {
      const token = await issuer.sign({ iss: undefined, ...claims }, { now: clock.now() / 1000 })
      const { result, reasons } = await verifier.explain(token)
      if (!result.ok) throw new Error(JSON.stringify(reasons.at(-1)))
      const [workload, ...others] = set.index.match(result.value.issuer, result.value.claims)
      expect(others).toEqual([])
      expect(workloads).toContain(workload?.name)
      expect(workload?.policy.purposes.map(({ environment }) => environment)).toContain(result.value.environment)
    }
    verifier.close()
  })
})
