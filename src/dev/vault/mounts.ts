import { randomBytes, randomUUID } from 'node:crypto'
import { type Backend, type Call, type Mount, type Reply, VaultError } from './backend.ts'
import { seconds, text, textMap } from './fields.ts'

/** A mount and what serves it. */
export interface Mounted {
  readonly mount: Mount
  readonly backend: Backend
}

/** Makes the backend of a type, or nothing when there is no such type. */
export type MakeBackend = (type: string, mountPath: string) => Backend | undefined

export interface Mounts {
  /** The mount that holds a path, and the path below it. */
  find(path: string): { readonly mounted: Mounted; readonly rest: string } | undefined
  add(path: string, type: string, backend: Backend, options?: Partial<Mount>): void
  readonly routes: Backend['routes']
  stop(): Promise<void>
}

const described = ({ mount }: Mounted): Readonly<Record<string, unknown>> => ({
  accessor: mount.accessor,
  config: { ...mount.config, force_no_cache: false },
  description: mount.description,
  external_entropy_access: false,
  local: false,
  options: mount.options,
  plugin_version: '',
  running_plugin_version: 'v2.5.5+builtin.bao',
  running_sha256: '',
  seal_wrap: false,
  type: mount.type,
  uuid: mount.uuid,
})

const asPath = (path: string): string => `${path.replace(/^\/+|\/+$/g, '')}/`

/**
 * The mount table: secrets engines at their path, auth methods below `auth/`.
 * `beforeRemoval` ends the leases below a mount that goes away.
 */
export function createMounts(deps: {
  engine: MakeBackend
  method: MakeBackend
  beforeRemoval: (path: string) => Promise<void>
}): Mounts {
  const table = new Map<string, Mounted>()

  const add: Mounts['add'] = (path, type, backend, options) => {
    table.set(path, {
      backend,
      mount: {
        path,
        type,
        accessor: `${path.startsWith('auth/') ? 'auth_' : ''}${type}_${randomBytes(4).toString('hex')}`,
        uuid: randomUUID(),
        description: '',
        options: null,
        config: { default_lease_ttl: 0, max_lease_ttl: 0 },
        ...options,
      },
    })
  }
  const limits = (value: unknown): Mount['config'] => {
    const given = value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {}
    return {
      default_lease_ttl: seconds(given.default_lease_ttl) ?? 0,
      max_lease_ttl: seconds(given.max_lease_ttl) ?? 0,
    }
  }
  const enable = (call: Call, prefix: '' | 'auth/', make: MakeBackend): undefined => {
    const below = asPath(call.names.path ?? '')
    const path = `${prefix}${below}`
    // One mount must not lie inside another: the longer path would hide part of the shorter.
    const taken = [...table.keys()].find((other) => other.startsWith(path) || path.startsWith(other))
    if (taken !== undefined) throw new VaultError(400, `path is already in use at ${taken}`)
    const asked = text(call.body.type)
    if (asked === '')
      throw new VaultError(400, `${prefix === '' ? 'backend' : 'auth'} type must be specified as a string`)
    const type = asked === 'kv-v2' ? 'kv' : asked
    const options = asked === 'kv-v2' ? { version: '2' } : (textMap(call.body.options) ?? {})
    const backend = make(type === 'kv' && options.version !== '2' ? 'kv-v1' : type, below)
    if (backend === undefined) throw new VaultError(400, `plugin not found in the catalog: ${asked}`)
    add(path, type, backend, {
      description: text(call.body.description),
      options,
      config: limits(call.body.config),
    })
    return undefined
  }
  const remove = async (path: string): Promise<undefined> => {
    const mounted = table.get(path)
    if (mounted === undefined) return undefined
    await deps.beforeRemoval(path)
    table.delete(path)
    await mounted.backend.stop?.()
    return undefined
  }
  const all = (auth: boolean): Reply => {
    const found = [...table.values()].filter(({ mount }) => mount.path.startsWith('auth/') === auth)
    const data = Object.fromEntries(
      found.map((mounted) => [mounted.mount.path.slice(auth ? 'auth/'.length : 0), described(mounted)]),
    )
    return { data, flat: true }
  }
  const at = (path: string): Mounted => {
    const mounted = table.get(path)
    if (mounted === undefined) throw new VaultError(400, `No secret engine mount at ${path}`)
    return mounted
  }
  const tuned = (path: string): Reply => {
    const { mount } = at(path)
    return {
      data: {
        default_lease_ttl: mount.config.default_lease_ttl || 2_764_800,
        max_lease_ttl: mount.config.max_lease_ttl || 2_764_800,
        description: mount.description,
        force_no_cache: false,
        ...(mount.options && Object.keys(mount.options).length > 0 ? { options: mount.options } : {}),
      },
      flat: true,
    }
  }
  const tune = (path: string, call: Call): undefined => {
    const mounted = at(path)
    const next = limits(call.body)
    const config = {
      default_lease_ttl:
        'default_lease_ttl' in call.body ? next.default_lease_ttl : mounted.mount.config.default_lease_ttl,
      max_lease_ttl: 'max_lease_ttl' in call.body ? next.max_lease_ttl : mounted.mount.config.max_lease_ttl,
    }
    table.set(path, { backend: mounted.backend, mount: { ...mounted.mount, config } })
    return undefined
  }
  const pathOf = (call: Call, prefix = ''): string => `${prefix}${asPath(call.names.path ?? '')}`
  const ofTune = (call: Call, prefix = ''): string =>
    `${prefix}${asPath((call.names.path ?? '').replace(/\/tune\/?$/, ''))}`
  const isTune = (call: Call): boolean => /\/tune\/?$/.test(call.names.path ?? '')

  return {
    find(path) {
      for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) {
        const mounted = table.get(path.slice(0, end + 1))
        if (mounted !== undefined) return { mounted, rest: path.slice(end + 1) }
      }
      return undefined
    },
    add,
    routes: [
      { pattern: 'mounts', on: { read: () => all(false) } },
      { pattern: 'auth', on: { read: () => all(true) } },
      {
        pattern: 'mounts/*path',
        on: {
          read: (call) => (isTune(call) ? tuned(ofTune(call)) : { data: described(at(pathOf(call))), flat: true }),
          update: (call) => (isTune(call) ? tune(ofTune(call), call) : enable(call, '', deps.engine)),
          delete: (call) => remove(pathOf(call)),
        },
      },
      {
        pattern: 'auth/*path',
        sudo: true,
        on: {
          read: (call) =>
            isTune(call) ? tuned(ofTune(call, 'auth/')) : { data: described(at(pathOf(call, 'auth/'))), flat: true },
          update: (call) => (isTune(call) ? tune(ofTune(call, 'auth/'), call) : enable(call, 'auth/', deps.method)),
          delete: (call) => remove(pathOf(call, 'auth/')),
        },
      },
      {
        pattern: 'internal/ui/mounts/*path',
        on: {
          read: (call) => {
            const mounted = at(pathOf(call))
            return { data: { ...described(mounted), path: mounted.mount.path } }
          },
        },
      },
    ],
    async stop() {
      await Promise.all([...table.values()].map(({ backend }) => backend.stop?.()))
    },
  }
}
