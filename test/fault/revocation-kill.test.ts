import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inParallel } from '../../src/base/in-parallel.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { type Answer, callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { databaseUsers } from '../support/database-users.ts'
import { type ServeFolder, type Serving, serveFolder, startServe } from '../support/serve.ts'

const many = 200
const spared = 20

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(
    `kill -9 in the middle of a storm of revocations, over ${vault}`,
    () => {
      let world: World
      let folder: ServeFolder
      let serving: Serving
      beforeAll(async () => {
        world = await startWorld({
          vault,
          broker: false,
          async policies({ edit }) {
            for (const name of ['checkout', 'checkout-staging']) {
              await edit(`workloads/${name}.yaml`, (text) => text.replace(/limits: .*/, 'limits: { active: 1000 }'))
            }
          },
        })
        folder = await serveFolder(world.stack, world.policies.dir)
        serving = await startServe(folder)
      })
      afterAll(async () => {
        serving?.signal('SIGKILL')
        await serving?.exited
        await folder?.close()
        await world?.stop()
      })

      const api = async (method: string, path: string, as: string, body?: object): Promise<Answer> =>
        callApi(serving.url, method, path, { token: await world.token(as), ...(body && { body }) })

      async function issue(count: number, as: string, purpose: string): Promise<{ grant: string; user: string }[]> {
        const held: { grant: string; user: string }[] = []
        await inParallel(Array(count).keys(), 8, async () => {
          const { status, body, text } = await api('POST', '/v1/credentials', as, { purpose })
          expect(status, text).toBe(201)
          held.push({ grant: body.grant, user: body.secret.username ?? '' })
        })
        return held
      }

      test('the next start finishes it: the users of PostgreSQL are those of the active grants, and each end is recorded once', {
        timeout: 180_000,
      }, async () => {
        const doomed = await issue(many, 'checkout', 'read-orders')
        const kept = await issue(spared, 'checkout-staging', 'try-changes')
        expect(await users(world)).toHaveLength(many + spared)

        const order = { match: { workload: 'checkout' }, reason: 'its image is compromised', hold: '1h', wait: '1s' }
        const placed = api('POST', '/v1/revocations', 'dana@security', order).catch(() => undefined)
        let killed = 0
        // Twice: the second start is killed while it carries the order out again.
        for (const left of [many * 0.8, many * 0.4]) {
          await eventually(
            async () => ((await users(world)).length - spared <= left ? true : undefined),
            'the storm',
            60_000,
          )
          serving.signal('SIGKILL')
          await serving.exited
          if ((await users(world)).length > spared) killed += 1
          serving = await startServe(folder)
          const refused = await api('POST', '/v1/credentials', 'checkout', { purpose: 'read-orders' })
          expect(refused.body.code, refused.text).toBe('issuance_held')
        }
        await placed
        // Else the kills hit nothing, and what follows would prove nothing.
        expect(killed).toBeGreaterThan(0)

        const { body: list } = await api('GET', '/v1/revocations', 'dana@security')
        const [listed] = list.revocations as { revocation: string }[]
        const done = await eventually(
          async () => {
            const { body } = await api('GET', `/v1/revocations/${listed?.revocation}`, 'dana@security')
            return body.status === 'completed' ? body : undefined
          },
          'the order is completed',
          60_000,
        )
        expect(done).toMatchObject({ matched: many, done: many, hold: { holding: true } })
        expect(await users(world)).toEqual(kept.map(({ user }) => user).sort())

        const ended = await entries('grant.ended', api)
        const ids = ended.map(({ grant }) => grant)
        expect(new Set(ids).size).toBe(ids.length)
        expect(ids.toSorted()).toEqual(doomed.map(({ grant }) => grant).sort())
        expect(new Set(ended.map(({ revocation, cause }) => `${revocation} ${cause}`))).toEqual(
          new Set([`${listed?.revocation} kill_switch`]),
        )
        for (const kind of ['revocation.ordered', 'revocation.completed'])
          expect(await entries(kind, api)).toHaveLength(1)

        serving.signal('SIGTERM')
        expect(await serving.exited).toMatchObject({ code: 0 })
        expect(await verifyLedger({ dir: folder.ledger, vkey: await folder.vkey() })).toMatchObject({
          ok: true,
          problems: [],
        })
      })
    },
  )
}

async function entries(
  kind: string,
  api: (method: string, path: string, as: string) => Promise<Answer>,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { body } = await api('GET', `/v1/ledger/entries?kind=${kind}&limit=1000`, 'dana@security')
  return body.entries.map(({ entry }) => entry)
}

const users = ({ stack }: World) => databaseUsers(stack.postgres.url)
