import { randomUUID } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { type Backend, type Call, type Reply, VaultError } from './backend.ts'
import { commaList, flag, seconds, text } from './fields.ts'
import type { Lease, Leases } from './leases.ts'
import type { Mounts } from './mounts.ts'
import type { Policies } from './policies.ts'
import type { Tokens } from './tokens.ts'
import type { Wrapping } from './wrapping.ts'

/** The release whose behaviour this server follows, and a mark that says this is not it. */
const followedVersion = '2.5.5-writ-dev'

const bare = (body: unknown): Reply => ({ raw: { type: 'application/json', body: `${JSON.stringify(body)}\n` } })

function healthRoutes(clock: Clock): Backend['routes'] {
  const cluster = { cluster_name: 'writ-dev', cluster_id: randomUUID() }
  return [
    {
      pattern: 'health',
      open: true,
      on: {
        read: () =>
          bare({
            initialized: true,
            sealed: false,
            standby: false,
            performance_standby: false,
            replication_performance_mode: 'disabled',
            replication_dr_mode: 'disabled',
            server_time_utc: Math.floor(clock.now() / 1000),
            version: followedVersion,
            ...cluster,
          }),
      },
    },
    {
      pattern: 'seal-status',
      open: true,
      on: {
        read: () =>
          bare({
            type: 'shamir',
            initialized: true,
            sealed: false,
            t: 1,
            n: 1,
            progress: 0,
            nonce: '',
            version: followedVersion,
            build_date: '',
            migration: false,
            ...cluster,
            recovery_seal: false,
            storage_type: 'inmem',
          }),
      },
    },
    {
      pattern: 'leader',
      open: true,
      on: {
        read: () =>
          bare({
            ha_enabled: false,
            is_self: false,
            active_time: '0001-01-01T00:00:00Z',
            leader_address: '',
            leader_cluster_address: '',
          }),
      },
    },
    { pattern: 'init', open: true, on: { read: () => bare({ initialized: true }) } },
  ]
}

function leaseRoutes(leases: Leases, clock: Clock): Backend['routes'] {
  const named = (call: Call): string => {
    const id = text(call.body.lease_id ?? call.names.id)
    if (id === '') throw new VaultError(400, 'lease_id must be specified')
    return id
  }
  const described = (lease: Lease): Reply => ({
    data: {
      expire_time: new Date(lease.expiresMs).toISOString(),
      id: lease.id,
      issue_time: new Date(lease.issuedMs).toISOString(),
      last_renewal: lease.lastRenewalMs === undefined ? null : new Date(lease.lastRenewalMs).toISOString(),
      renewable: lease.renewable,
      ttl: Math.floor((lease.expiresMs - clock.now()) / 1000),
    },
  })
  const lookup = (call: Call): Reply => {
    const lease = leases.find(named(call))
    if (lease === undefined) throw new VaultError(400, 'invalid lease')
    return described(lease)
  }
  const renew = async (call: Call): Promise<Reply> => {
    const { lease, warnings } = await leases.renew(named(call), seconds(call.body.increment))
    const durationSeconds = Math.round((lease.expiresMs - clock.now()) / 1000)
    return { data: null, lease: { id: lease.id, durationSeconds, renewable: lease.renewable }, warnings }
  }
  const revoke = async (call: Call): Promise<undefined> => {
    const id = named(call)
    if (flag(call.body.sync, false)) await leases.revoke(id)
    else leases.revokeSoon(id)
    return undefined
  }
  const revokePrefix = async (call: Call): Promise<undefined> => {
    await leases.revokePrefix((call.names.prefix ?? '').replace(/\/?$/, '/'))
    return undefined
  }
  return [
    { pattern: 'leases/lookup', on: { update: lookup } },
    {
      pattern: 'leases/lookup/*prefix',
      sudo: ['list'],
      on: {
        list: (call) => {
          const keys = leases.list(call.names.prefix ?? '')
          if (keys.length === 0) throw new VaultError(404)
          return { data: { keys } }
        },
      },
    },
    { pattern: 'leases/renew', on: { update: renew } },
    { pattern: 'leases/renew/*id', on: { update: renew } },
    { pattern: 'renew', on: { update: renew } },
    { pattern: 'leases/revoke', on: { update: revoke } },
    { pattern: 'leases/revoke/*id', on: { update: revoke } },
    { pattern: 'revoke', on: { update: revoke } },
    { pattern: 'leases/revoke-prefix/*prefix', sudo: true, on: { update: revokePrefix } },
    { pattern: 'revoke-prefix/*prefix', sudo: true, on: { update: revokePrefix } },
    {
      pattern: 'leases/revoke-force/*prefix',
      sudo: true,
      on: { update: async (call) => void (await leases.forgetPrefix(call.names.prefix ?? '')) },
    },
  ]
}

function policyRoutes(policies: Policies): Backend['routes'] {
  const write = (call: Call): undefined => {
    const name = (call.names.name ?? '').toLowerCase()
    if (name === 'root' || name === 'response-wrapping') throw new VaultError(400, `cannot update "${name}" policy`)
    const body = text(call.body.policy)
    if (body === '') throw new VaultError(400, "'policy' parameter not supplied or empty")
    const coded = Buffer.from(body, 'base64')
    const isCoded = !/[\s{]/.test(body) && coded.toString('base64') === body
    policies.put(name, isCoded ? coded.toString('utf8') : body)
    return undefined
  }
  const read = (call: Call, key: 'policy' | 'rules'): Reply => {
    const name = (call.names.name ?? '').toLowerCase()
    if (name === 'root') return { data: { name, [key]: '' } }
    const policy = policies.get(name)
    if (policy === undefined) throw new VaultError(404)
    const { text: body, version } = policy
    return {
      data: { cas_required: false, modified: new Date(policy.modifiedMs).toISOString(), name, [key]: body, version },
    }
  }
  const remove = (call: Call): undefined => {
    const name = call.names.name ?? ''
    if (name === 'root' || name === 'default') throw new VaultError(400, `cannot delete "${name}" policy`)
    policies.delete(name)
    return undefined
  }
  return [
    { pattern: 'policies/acl/', on: { list: () => ({ data: { keys: policies.names() } }) } },
    {
      pattern: 'policies/acl/:name',
      on: { read: (call) => read(call, 'policy'), update: write, delete: remove },
    },
    {
      pattern: 'policy',
      on: { read: () => ({ data: { keys: policies.names(), policies: policies.names() }, flat: true }) },
    },
    { pattern: 'policy/:name', on: { read: (call) => read(call, 'rules'), update: write, delete: remove } },
  ]
}

function capabilityRoutes(policies: Policies, tokens: Tokens): Backend['routes'] {
  const answer = (names: readonly string[], call: Call): Reply => {
    const paths = commaList(call.body.paths ?? call.body.path)
    const [first] = paths
    if (first === undefined) throw new VaultError(400, 'paths must be supplied')
    const found = Object.fromEntries(paths.map((path) => [path, policies.capabilities(names, path)]))
    return { data: paths.length === 1 ? { capabilities: found[first], ...found } : found, flat: true }
  }
  return [
    { pattern: 'capabilities-self', on: { update: (call) => answer(call.token?.policies ?? [], call) } },
    {
      pattern: 'capabilities',
      on: {
        update: (call) => {
          const token = tokens.find(text(call.body.token))
          if (token === undefined) throw new VaultError(400, 'invalid token')
          return answer(token.policies, call)
        },
      },
    },
    {
      pattern: 'capabilities-accessor',
      on: {
        update: (call) => {
          const token = tokens.byAccessor(text(call.body.accessor))
          if (token === undefined) throw new VaultError(400, 'invalid accessor')
          return answer(token.policies, call)
        },
      },
    },
  ]
}

/** The mount `sys/`: health, leases, policies, mounts and wrapping. */
export function createSystem(deps: {
  clock: Clock
  leases: Leases
  policies: Policies
  tokens: Tokens
  mounts: Mounts
  wrapping: Wrapping
}): Backend {
  return {
    routes: [
      ...healthRoutes(deps.clock),
      ...leaseRoutes(deps.leases, deps.clock),
      ...policyRoutes(deps.policies),
      ...capabilityRoutes(deps.policies, deps.tokens),
      ...deps.mounts.routes,
      ...deps.wrapping.routes,
    ],
  }
}
