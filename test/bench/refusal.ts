import { createClient } from './client.ts'
import { drive, type Figures, figuresOf, type Sample } from './load.ts'
import type { Child } from './serve.ts'
import { type BenchIssuer, workloads } from './world.ts'

/** What a no costs, one request at a time. */
export interface RefusalFigures {
  /** A workload that is known asks for a purpose that is not: the entry is durable before the answer. */
  readonly known: Figures
  /** Nobody's token; under a flood these are counted and not each written. */
  readonly stranger: Figures
}

export async function measureRefusals(writ: Child, issuer: BenchIssuer, rounds: number): Promise<RefusalFigures> {
  const client = createClient(writ.url, 1)
  try {
    const [good = ''] = await issuer.tokens(workloads[0]?.subject ?? '', 1)
    const bad = `${good.slice(0, -8)}AAAAAAAA`
    const refused = (token: string, expect: number) => async (): Promise<void> => {
      const headers = { authorization: `Bearer ${token}` }
      await client.send({ method: 'POST', path: '/v1/credentials', headers, body: { purpose: 'no-such' }, expect })
    }
    const known: Sample[] = []
    const stranger: Sample[] = []
    await drive(refused(good, 403), 1, 500)
    for (let round = 0; round < rounds; round++) {
      known.push(await drive(refused(good, 403), 1, 400))
      stranger.push(await drive(refused(bad, 401), 1, 400))
    }
    return { known: figuresOf(known), stranger: figuresOf(stranger) }
  } finally {
    await client.close()
  }
}
