import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { answering, type BaoProcess, runBao } from './bao.ts'
import { eventually, freePort } from './child.ts'
import { type VaultApi, vaultApi } from './vault-api.ts'

/** One server of a cluster. */
export interface ClusterNode {
  readonly address: string
  /** Where its audit device writes to. */
  readonly auditLog: string
  seal(): Promise<void>
  unseal(): Promise<void>
  /** Ends the process as a power cut would. */
  kill(): Promise<void>
  /** Starts it again on its own data, unsealed. */
  start(): Promise<void>
  /** Freezes the process: connections stay, nothing answers. */
  freeze(): void
  thaw(): void
}

/** Three real servers on raft storage, with file audit devices. */
export interface BaoCluster {
  readonly nodes: readonly ClusterNode[]
  readonly rootToken: string
  /** Asks each server in turn until one can answer. */
  readonly api: VaultApi
  /** The server that leads, as those that do not lead see it too. */
  leader(): Promise<ClusterNode>
  /** Waits until one server leads and every one that runs is unsealed. */
  settled(): Promise<ClusterNode>
  stop(): Promise<void>
}

const size = 3

/** Starts the cluster on free ports of 127.0.0.1; it is unsealed and has a leader when this resolves. */
export async function startBaoCluster(): Promise<BaoCluster> {
  for (let tries = 1; ; tries += 1) {
    const folder = await mkdtemp(join(tmpdir(), 'writ-cluster-'))
    const running: BaoProcess[] = []
    try {
      return await startOnce(folder, running)
    } catch (error) {
      for (const server of running) await server.stop()
      await rm(folder, { recursive: true, force: true })
      // A free port may have been taken meanwhile.
      if (tries === 3) throw error
    }
  }
}

async function startOnce(folder: string, running: BaoProcess[]): Promise<BaoCluster> {
  const ports: { readonly api: number; readonly cluster: number }[] = []
  for (let i = 0; i < size; i += 1) ports.push({ api: await freePort(), cluster: await freePort() })
  const addresses = ports.map(({ api }) => `http://127.0.0.1:${api}`)
  const keys: { root: string; unseal: string } = { root: '', unseal: '' }

  const nodes: ClusterNode[] = []
  for (const [at, address] of addresses.entries()) {
    const home = join(folder, `node-${at}`)
    const auditLog = join(home, 'audit.log')
    await mkdir(join(home, 'data'), { recursive: true })
    await writeFile(join(home, 'config.hcl'), configOf({ at, home, ports, addresses }))
    nodes.push(nodeOf({ home, address, auditLog, running, unsealKey: () => keys.unseal, rootToken: () => keys.root }))
  }
  const [first, ...others] = nodes
  if (first === undefined) throw new Error('a cluster has nodes')
  await Promise.all(nodes.map((node) => node.start()))
  const init = await vaultApi(first.address, '')('PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 })
  const made = init.body as { root_token: string; keys: string[] }
  keys.root = made.root_token
  keys.unseal = made.keys[0] ?? ''
  await first.unseal()
  // Each of the others has found the first by itself; until then there is nothing to unseal.
  for (const node of others) await eventually(() => unsealed(node), 'the node has joined', 60_000)

  async function api(...call: Parameters<VaultApi>): ReturnType<VaultApi> {
    return eventually(
      async () => {
        for (const { address } of nodes) {
          const answer = await within(2_000, vaultApi(address, keys.root)(...call)).catch(() => undefined)
          if (answer !== undefined && answer.status < 500 && answer.status !== 429) return answer
        }
        return undefined
      },
      `${call[0]} ${call[1]}`,
      60_000,
    )
  }
  const stateOf = async (node: ClusterNode) => {
    const { body } = await within(1_000, vaultApi(node.address, '')('GET', 'sys/leader'))
    return body as { readonly is_self?: boolean; readonly active_time?: string; readonly leader_address?: string }
  }
  async function leader(): Promise<ClusterNode> {
    return eventually(
      async () => {
        const seen = await Promise.all(nodes.map((node) => stateOf(node).catch(() => undefined)))
        const claims = seen.map((state) => (state?.is_self === true ? Date.parse(state.active_time ?? '') : -1))
        // A server that was frozen while another took over says that it leads until it next writes: the later claim is the true one.
        const at = claims.indexOf(Math.max(...claims))
        // A server that is sealed or down names nobody.
        const agreed = seen.every(
          (state) =>
            state?.leader_address === undefined || state.is_self === true || state.leader_address === addresses[at],
        )
        return seen[at]?.is_self === true && agreed ? nodes[at] : undefined
      },
      'a server leads',
      60_000,
    )
  }
  const cluster: BaoCluster = {
    nodes,
    rootToken: keys.root,
    api,
    leader,
    async settled() {
      for (const node of nodes) {
        await eventually(() => isUp(node), 'every server takes part', 60_000)
      }
      return leader()
    },
    async stop() {
      for (const server of running) await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await cluster.settled()
  // A server that has just joined has no vote, and cannot lead, for ten seconds unless told otherwise.
  await api('POST', 'sys/storage/raft/autopilot/configuration', { server_stabilization_time: '1s' })
  await eventually(async () => ((await voters(api)) === size ? true : undefined), 'every server has a vote', 60_000)
  return cluster
}

async function voters(api: VaultApi): Promise<number> {
  const { body } = await api('GET', 'sys/storage/raft/configuration')
  const { config } = (body as { data: { config: { servers: { voter: boolean }[] } } }).data
  return config.servers.filter(({ voter }) => voter).length
}

async function isUp(node: Pick<ClusterNode, 'address'>): Promise<true | undefined> {
  const { status } = await within(1_000, vaultApi(node.address, '')('GET', 'sys/health'))
  // 429: a standby.
  return status === 200 || status === 429 ? true : undefined
}

async function unsealed(node: Pick<ClusterNode, 'address' | 'unseal'>): Promise<true | undefined> {
  await node.unseal()
  return isUp(node)
}

const within = <T>(ms: number, call: Promise<T>): Promise<T> =>
  Promise.race([call, new Promise<never>((_, reject) => setTimeout(() => reject(new Error('too slow')), ms).unref())])

interface NodePlace {
  readonly at: number
  readonly home: string
  readonly ports: readonly { readonly api: number; readonly cluster: number }[]
  readonly addresses: readonly string[]
}

function configOf({ at, home, ports, addresses }: NodePlace): string {
  const own = ports[at]
  const others = addresses.filter((_, other) => other !== at)
  const joins = others.map((address) => `  retry_join {\n    leader_api_addr = "${address}"\n  }\n`).join('')
  return (
    `storage "raft" {\n  path = "${join(home, 'data')}"\n  node_id = "node-${at}"\n  performance_multiplier = 1\n${joins}}\n` +
    `listener "tcp" {\n  address = "127.0.0.1:${own?.api}"\n  cluster_address = "127.0.0.1:${own?.cluster}"\n  tls_disable = true\n}\n` +
    `api_addr = "${addresses[at]}"\ncluster_addr = "https://127.0.0.1:${own?.cluster}"\n` +
    // Relative to the server's own folder: with another path than the leader had, a server cannot take over.
    'audit "file" "file" {\n  options {\n    file_path = "audit.log"\n  }\n}\n'
  )
}

function nodeOf(place: {
  readonly home: string
  readonly address: string
  readonly auditLog: string
  readonly running: BaoProcess[]
  readonly unsealKey: () => string
  readonly rootToken: () => string
}): ClusterNode {
  const { home, address, auditLog, running } = place
  let server: BaoProcess | undefined
  const unseal = async (): Promise<void> => {
    await vaultApi(address, '')('PUT', 'sys/unseal', { key: place.unsealKey() })
  }
  return {
    address,
    auditLog,
    unseal,
    async seal() {
      const told = await vaultApi(address, place.rootToken())('PUT', 'sys/seal').catch(() => undefined)
      if (told?.status === 204) return
      // A standby does not take that; it comes up sealed.
      await server?.kill()
      server = await spawned()
    },
    async kill() {
      await server?.kill()
    },
    async start() {
      server = await spawned()
      if (place.unsealKey() !== '') await eventually(() => unsealed({ address, unseal }), 'it is unsealed', 60_000)
    },
    freeze: () => void server?.child.kill('SIGSTOP'),
    thaw: () => void server?.child.kill('SIGCONT'),
  }

  async function spawned(): Promise<BaoProcess> {
    const fresh = runBao(home, [`-config=${join(home, 'config.hcl')}`])
    running.push(fresh)
    await answering(fresh, address)
    return fresh
  }
}
