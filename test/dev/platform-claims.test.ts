import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { startDevIssuer } from '../../src/dev/issuer.ts'
import { createVerifier } from '../../src/identity/verify.ts'
import { pages, readPage } from '../docs/page.ts'

test.each(pages)('the development issuer signs for the workloads of %s, as their platform would', async (page) => {
  const { set, workloads } = await readPage(page)
  const issuer = await startDevIssuer({ port: 0, clock: systemClock, policies: async () => set })
  onTestFinished(() => issuer.stop())
  const verifier = createVerifier({
    issuers: () => set.issuers,
    clock: systemClock,
    log: silentLog,
    keysFor: issuer.keysFor,
    allowLoopbackHttp: true,
  })
  onTestFinished(() => verifier.close())
  for (const name of workloads) {
    const { result, reasons } = await verifier.explain(await issuer.token({ as: name }))
    if (!result.ok) throw new Error(JSON.stringify(reasons.at(-1)))
    expect(set.index.match(result.value.issuer, result.value.claims).map((found) => found.name)).toEqual([name])
    expect(result.value.environment).toBe('prod')
  }
})
