import { setTimeout as wait } from 'node:timers/promises'
import { writeHistory } from './history.ts'
import { median } from './load.ts'
import { writeOrganisation } from './policy.ts'
import { measureRefusals, type RefusalFigures } from './refusal.ts'
import { measureReload, type ReloadFigures } from './reload.ts'
import { type Child, newFolder, policiesIn, removeFolder, startServe } from './serve.ts'
import type { BenchVault } from './vault.ts'
import { type BenchIssuer, writePolicies } from './world.ts'

/** What one `writ serve` costs apart from minting. */
export interface BrokerFigures {
  readonly readyMs: number
  readonly idleMb: number
  readonly refusals: RefusalFigures
}

export interface BrokerSurroundings {
  readonly vault: BenchVault
  readonly issuer: BenchIssuer
  readonly profileDir?: string | undefined
}

// Long enough for timers of the start to have run and for memory of the start to be given back.
const settleMs = 5_000

/** Starts from an empty folder; the middle of several. */
export async function measureBroker(
  around: BrokerSurroundings,
  starts: number,
  rounds: number,
): Promise<BrokerFigures> {
  const ready: number[] = []
  for (let i = 1; i < starts; i++)
    ready.push(
      await withServe(
        around,
        async () => {},
        async (writ) => writ.readyMs,
      ),
    )
  return withServe(
    around,
    async () => {},
    async (writ) => {
      ready.push(writ.readyMs)
      await wait(settleMs)
      const idleMb = writ.rssMb()
      return { readyMs: median(ready), idleMb, refusals: await measureRefusals(writ, around.issuer, rounds) }
    },
  )
}

/** Reloads of an organisation of that many workloads, while requests go on. */
export const measureReloads = (around: BrokerSurroundings, workloads: number): Promise<ReloadFigures> =>
  withServe(
    around,
    (dir) => writeOrganisation(policiesIn(dir), workloads),
    (writ, dir) => measureReload(writ, dir, around.issuer),
  )

/** A broker that holds that many live grants, rebuilt from its ledger. */
export const measureGrants = (
  around: BrokerSurroundings,
  grants: number,
): Promise<{ readonly readyMs: number; readonly rssMb: number }> =>
  withServe(
    around,
    (dir) => writeHistory(dir, { ended: 0, live: grants }),
    async (writ) => {
      await wait(settleMs)
      return { readyMs: writ.readyMs, rssMb: writ.rssMb() }
    },
  )

/** Starts over a long record with few live grants: once reading all of it, then from the restart point that left. */
export const measureStarts = (
  around: BrokerSurroundings,
  entries: number,
): Promise<{ entries: number; readyMs: number; firstMs: number; rssMb: number }> =>
  withServe(
    around,
    (dir) => writeHistory(dir, { ended: Math.ceil(entries / 4) - 500, live: 1000 }),
    async (first, dir) => {
      await first.stop()
      const again = await startServe({ dir, vaultAddress: around.vault.address, vaultToken: around.vault.brokerToken })
      await wait(settleMs)
      const figures = { entries, readyMs: again.readyMs, firstMs: first.readyMs, rssMb: again.rssMb() }
      await again.stop()
      return figures
    },
  )

async function withServe<T>(
  { vault, issuer, profileDir }: BrokerSurroundings,
  prepare: (dir: string) => Promise<void>,
  measure: (writ: Child, dir: string) => Promise<T>,
): Promise<T> {
  const dir = await newFolder()
  try {
    await writePolicies(policiesIn(dir), issuer.jwk)
    await prepare(dir)
    const writ = await startServe({ dir, vaultAddress: vault.address, vaultToken: vault.brokerToken, profileDir })
    try {
      return await measure(writ, dir)
    } finally {
      await writ.stop()
    }
  } finally {
    await removeFolder(dir)
  }
}
