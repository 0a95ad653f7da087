import { afterAll, beforeAll, expect, it } from 'vitest'
import type { IssuerPolicy } from '../../../src/policy/issuer.ts'
import { startIssuer, type TestIssuer } from '../../support/issuer.ts'
import { type Scene, scene } from '../setup.ts'

type Claims = Readonly<Record<string, unknown>>

/** Claims as the platform writes them, and what becomes of their token. */
export interface Sample {
  readonly what: string
  readonly claims: Claims
  /** What it names as its run, where it passes. */
  readonly run?: string
  /** The last reason, where it is refused. */
  readonly refused?: RegExp
}

export interface SampleScene {
  /** A verifier whose Issuer is of the flavour and has the URL of the platform. */
  scene(more?: Claims): Scene
  /** `ok`, or the last reason of the refusal, for a token of the platform with these claims. */
  judge(claims: Claims): Promise<string>
}

/** An issuer that signs as the platform does; its key is of the test, everything else of the platform. */
export function platform(flavour: IssuerPolicy['flavour'], url: string): SampleScene {
  let issuer: TestIssuer
  beforeAll(async () => {
    issuer = await startIssuer()
  })
  afterAll(() => issuer.close())
  const open = (more: Claims = {}): Scene => scene(issuer, { flavour, url, ...more })
  return {
    scene: open,
    async judge(claims) {
      const s = open()
      return s.whyNot(await s.sign({ iss: url, ...claims }))
    },
  }
}

/** One test for each sample. */
export function judgeSamples(on: SampleScene, url: string, samples: readonly Sample[]): void {
  it.each(samples)('$what', async ({ claims, run, refused }) => {
    const s = on.scene()
    const token = await s.sign({ iss: url, ...claims }, { header: { typ: 'JWT' } })
    if (refused === undefined) expect((await s.identity(token)).run).toBe(run)
    else expect(await s.whyNot(token)).toMatch(refused)
  })
}
