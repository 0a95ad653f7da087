import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '../support/child.ts'
import { createClient } from './client.ts'
import { drive, quantile } from './load.ts'
import { type Child, policiesIn } from './serve.ts'
import { type BenchIssuer, workloads } from './world.ts'

/** What callers notice of a reload: a refusal is sent as soon as the one before it was answered, all along. */
export interface ReloadFigures {
  /** From the change of a file until the new set was in force, the wait for a quiet folder included. */
  readonly seconds: number
  readonly p50Ms: number
  /** The longest any request took while the set was loaded, and in the second before. */
  readonly longestMs: number
  readonly longestBeforeMs: number
}

export async function measureReload(writ: Child, dir: string, issuer: BenchIssuer): Promise<ReloadFigures> {
  const client = createClient(writ.url, 2)
  try {
    const [token = ''] = await issuer.tokens(workloads[0]?.subject ?? '', 1)
    const headers = { authorization: `Bearer ${token}` }
    const refused = async (): Promise<void> => {
      await client.send({ method: 'POST', path: '/v1/credentials', headers, body: { purpose: 'no' }, expect: 403 })
    }
    const digest = async (): Promise<string> => JSON.stringify(await client.send({ method: 'GET', path: '/readyz' }))
    await drive(refused, 1, 1000)
    const before = await drive(refused, 1, 1000)
    const old = digestIn(await digest())
    const startedMs = performance.now()
    let done = false
    const loads = eventually(async () => (digestIn(await digest()) === old ? undefined : true), 'a reload', 60_000)
      .then(() => performance.now() - startedMs)
      .finally(() => {
        done = true
      })
    await appendFile(join(policiesIn(dir), 'common.yaml'), extraDocument)
    const during: number[] = []
    while (!done) during.push(...(await drive(refused, 1, 50)).latenciesMs)
    const sorted = Float64Array.from(during).sort()
    return {
      seconds: (await loads) / 1000,
      p50Ms: quantile(sorted, 0.5),
      longestMs: sorted.at(-1) ?? 0,
      longestBeforeMs: Math.max(...before.latenciesMs),
    }
  } finally {
    await client.close()
  }
}

const digestIn = (ready: string): string => /"digest":"([0-9a-f]{64})"/.exec(ready)?.[1] ?? ''

const extraDocument = '\n---\nkind: Team\nname: newcomers\ncontact: { email: newcomers@example.com }\n'
