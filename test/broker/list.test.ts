import { beforeEach, describe, expect, test } from 'vitest'
import { newId } from '../../src/base/ids.ts'
import { listGrants } from '../../src/broker/list.ts'
import { type GrantFilter, grantFilterSchema } from '../../src/contract/grant.ts'
import type { Party } from '../../src/grants/authority.ts'
import { openGrant } from '../../src/grants/grant.ts'
import { createRegistry, type Registry } from '../../src/grants/registry.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { memoryState } from '../../src/state/memory.ts'
import { fakeClock } from '../support/clock.ts'
import { access } from '../support/grants.ts'

const origin = { issuer: 'cluster-eu', subject: 's', reason: '', task: undefined, approval: undefined }
const unlimited = { active: undefined, perMinute: undefined }
const filter = (query: object = {}): GrantFilter => grantFilterSchema.parse(query)
const party = (given: Partial<Party> & { teams?: string[]; roles?: ('auditor' | 'operator')[] }): Party => ({
  workload: given.workload,
  person: given.teams && { teams: given.teams, roles: new Set(given.roles ?? []) },
  name: 'people/somebody',
})

describe('a list of grants', () => {
  let registry: Registry
  /** What the answers cost: how often the table was searched, and how many grants were taken out of it. */
  let cost: { searches: number; grants: number }

  beforeEach(async () => {
    const clock = fakeClock()
    // Opening takes a place and records nothing, so there is no ledger here to write to.
    const real = createRegistry({ state: memoryState(clock), ledger: {} as Ledger, clock })
    cost = { searches: 0, grants: 0 }
    registry = {
      ...real,
      async find(labels, page) {
        const found = await real.find(labels, page)
        cost.searches++
        cost.grants += found.length
        return found
      },
    }
    for (let i = 0; i < 600; i++) {
      const owner = ['payments', 'platform', 'sre'][i % 3] ?? ''
      const workload = `${owner}-${i % 2}`
      await registry.open(
        [openGrant(newId('gr', clock.now() + i), { ...access, owner, workload }, origin, clock.now())],
        unlimited,
      )
    }
  })

  async function all(who: Party, query: object = {}): Promise<{ owners: string[]; ids: string[]; pages: number }> {
    const owners = new Set<string>()
    const ids: string[] = []
    let pages = 0
    for (let after: string | null = null; ; ) {
      const page = await listGrants(registry, who, filter(after === null ? query : { ...query, after }))
      pages++
      for (const { owner, grant } of page.grants) {
        owners.add(owner)
        ids.push(grant)
      }
      if (page.next === null) return { owners: [...owners].sort(), ids, pages }
      after = page.next
    }
  }

  test('one page for somebody who sees nothing costs nothing, however many grants others hold', async () => {
    for (const stranger of [party({}), party({ workload: 'idle' }), party({ teams: ['security'] })]) {
      expect(await listGrants(registry, stranger, filter({ limit: 1 }))).toEqual({ grants: [], next: null })
    }
    expect(cost.grants).toBe(0)
    expect(cost.searches).toBeLessThanOrEqual(3)
  })

  test('one grant a page costs one search of what is the caller’s own, not one for each grant of others', async () => {
    await listGrants(registry, party({ teams: ['sre'] }), filter({ limit: 1 }))
    expect(cost).toEqual({ searches: 1, grants: 1 })
  })

  test('every page together hold what the caller may see, each once', async () => {
    for (const limit of [1, 7, 100, 500]) {
      const sre = await all(party({ teams: ['sre'] }), { limit })
      expect([sre.owners, sre.ids.length, new Set(sre.ids).size]).toEqual([['sre'], 200, 200])
      const two = await all(party({ teams: ['sre', 'platform'] }), { limit })
      expect([two.owners, two.ids.length, new Set(two.ids).size]).toEqual([['platform', 'sre'], 400, 400])
      const mixed = await all(party({ workload: 'sre-0', teams: ['sre'] }), { limit })
      expect([mixed.owners, mixed.ids.length, new Set(mixed.ids).size]).toEqual([['sre'], 200, 200])
      const auditor = await all(party({ teams: ['security'], roles: ['auditor'] }), { limit })
      expect([auditor.ids.length, new Set(auditor.ids).size]).toEqual([600, 600])
    }
    const own = await all(party({ workload: 'payments-1' }), { limit: 30 })
    expect([own.owners, own.ids.length]).toEqual([['payments'], 100])
    expect((await all(party({ teams: ['sre'] }), { owner: 'platform' })).ids).toEqual([])
    expect((await all(party({ teams: ['sre', 'platform'] }), { owner: 'platform', limit: 50 })).ids).toHaveLength(200)
  })

  test('a cursor that is somebody else’s, or nobody’s, opens nothing', async () => {
    const { ids } = await all(party({ teams: ['payments'] }))
    for (const after of [ids[0], 'gr_00000000000000000000000000', '__proto__']) {
      const page = await listGrants(registry, party({ teams: ['sre'] }), filter({ after, limit: 500 }))
      expect(new Set(page.grants.map(({ owner }) => owner))).toEqual(new Set(['sre']))
    }
  })
})
