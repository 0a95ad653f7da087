import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { type ServeFolder, type Serving, serveFolder, startServe } from '../support/serve.ts'

const many = 60

for (const vault of ['embedded', 'bao-dev'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`kill -9 over ${vault}`, () => {
    let world: World
    let folder: ServeFolder
    let up: Serving
    beforeAll(async () => {
      world = await startWorld({
        vault,
        broker: false,
        async policies({ edit }) {
          for (const name of ['checkout', 'nightly-report']) {
            await edit(`workloads/${name}.yaml`, (text) => text.replaceAll(/limits: .*/g, 'limits: { active: 1000 }'))
          }
        },
      })
      folder = await serveFolder(world.stack, world.policies.dir, { policyChange: { brake: { percent: 100 } } })
      up = await startServe(folder)
    })
    afterAll(async () => {
      up?.signal('SIGKILL')
      await up?.exited
      await folder?.close()
      await world?.stop()
    })

    const call = async (as: string, path: string, body: object) =>
      callApi(up.url, 'POST', path, { token: await world.token(as), body })
    const take = async (as: string) => {
      const { status, body, text } = await call(as, '/v1/credentials', { purpose: 'read-orders' })
      expect(status, text).toBe(201)
      return body.secret
    }
    const accepted = async (secrets: readonly unknown[]): Promise<number> => {
      const answers = await Promise.all(secrets.map(world.login))
      return answers.filter((answer) => answer === 'in').length
    }

    test('between a reload and the last of the ends it asks for: the next start ends the rest, and nothing else', {
      timeout: 240_000,
    }, async () => {
      const file = join(folder.policies, 'workloads/nightly-report.yaml')
      const asWritten = await readFile(file, 'utf8')
      const kept = await take('checkout')
      let cutShort = 0
      // A kill may come too late to prove anything, so it is tried until one came in time.
      for (let round = 0; round < 8 && cutShort === 0; round++) {
        const lost = await Promise.all(Array.from({ length: many }, () => take('nightly-report')))
        await writeFile(file, asWritten.replace('id: read-orders', 'id: read-orders-no-more'))
        expect((await call('dana@security', '/v1/policies/reload', {})).status).toBe(200)
        up.signal('SIGKILL')
        await up.exited
        cutShort = await accepted(lost)
        up = await startServe(folder)
        await eventually(async () => ((await accepted(lost)) === 0 ? true : undefined), 'every one of them is refused')
        expect(await world.login(kept)).toBe('in')
        await writeFile(file, asWritten)
        expect((await call('dana@security', '/v1/policies/reload', {})).status).toBe(200)
      }
      expect(cutShort).toBeGreaterThan(0)
      up.signal('SIGTERM')
      expect((await up.exited).code).toBe(0)
      expect(await verifyLedger({ dir: folder.ledger, vkey: await folder.vkey() })).toMatchObject({
        ok: true,
        problems: [],
      })
    })
  })
}
