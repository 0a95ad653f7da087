import type { Clock } from '../../base/clock.ts'
import { type Backend, type Call, type Reply, VaultError } from './backend.ts'
import { count } from './fields.ts'

interface Version {
  readonly createdMs: number
  data: Readonly<Record<string, unknown>> | null
  deletedMs: number | undefined
  destroyed: boolean
}

interface Secret {
  readonly createdMs: number
  updatedMs: number
  current: number
  readonly versions: Map<number, Version>
  settings: { max_versions: number; cas_required: boolean; custom_metadata: Readonly<Record<string, unknown>> | null }
}

const time = (ms: number | undefined): string => (ms === undefined ? '' : new Date(ms).toISOString())
const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value)

/** Names right below a folder of paths, folders with a slash. */
function below(paths: Iterable<string>, folder: string): Reply {
  const prefix = folder === '' || folder.endsWith('/') ? folder : `${folder}/`
  const names = new Set<string>()
  for (const path of paths) {
    if (!path.startsWith(prefix)) continue
    const [first = '', ...rest] = path.slice(prefix.length).split('/')
    names.add(rest.length > 0 ? `${first}/` : first)
  }
  if (names.size === 0) throw new VaultError(404)
  return { data: { keys: [...names].sort() } }
}

/** Key/value secrets, version 1: one value a path. */
export function createKvV1(): Backend {
  const stored = new Map<string, Readonly<Record<string, unknown>>>()
  const pathOf = (call: Call): string => call.names.path ?? ''
  return {
    routes: [
      {
        pattern: '*path',
        exists: (call) => stored.has(pathOf(call)),
        on: {
          read: (call) => {
            const data = stored.get(pathOf(call))
            if (data === undefined) throw new VaultError(404)
            return { data, lease: { id: '', durationSeconds: 2_764_800, renewable: false } }
          },
          list: (call) => below(stored.keys(), pathOf(call)),
          update: (call) => void stored.set(pathOf(call), call.body),
          delete: (call) => void stored.delete(pathOf(call)),
        },
      },
    ],
  }
}

/** Key/value secrets, version 2: versions, check-and-set, deletion, destruction, metadata. */
export function createKv(deps: { clock: Clock }): Backend {
  const { clock } = deps
  const secrets = new Map<string, Secret>()
  const mount = { cas_required: false, delete_version_after: '0s', max_versions: 0, metadata_cas_required: false }
  const pathOf = (call: Call): string => call.names.path ?? ''
  const find = (call: Call): Secret => {
    const secret = secrets.get(pathOf(call))
    if (secret === undefined) throw new VaultError(404)
    return secret
  }
  const described = (secret: Secret, number: number, version: Version): Readonly<Record<string, unknown>> => ({
    created_time: time(version.createdMs),
    custom_metadata: secret.settings.custom_metadata,
    deletion_time: time(version.deletedMs),
    destroyed: version.destroyed,
    version: number,
  })

  const read = (call: Call): Reply => {
    const secret = find(call)
    const number = count(call.query.get('version')) || secret.current
    const version = secret.versions.get(number)
    if (version === undefined) throw new VaultError(404)
    const readable = version.deletedMs === undefined && !version.destroyed
    const data = { data: readable ? version.data : null, metadata: described(secret, number, version) }
    return readable ? { data } : { status: 404, data }
  }
  const write = (call: Call): Reply => {
    const { data, options } = call.body
    if (!isMap(data)) throw new VaultError(400, 'no data provided')
    const path = pathOf(call)
    const old = secrets.get(path)
    const cas = isMap(options) ? options.cas : undefined
    if (cas === undefined && (mount.cas_required || old?.settings.cas_required === true)) {
      throw new VaultError(400, 'check-and-set parameter required for this call')
    }
    if (cas !== undefined && count(cas, -1) !== (old?.current ?? 0)) {
      throw new VaultError(400, 'check-and-set parameter did not match the current version')
    }
    const nowMs = clock.now()
    const secret: Secret = old ?? {
      createdMs: nowMs,
      updatedMs: nowMs,
      current: 0,
      versions: new Map(),
      settings: { max_versions: 0, cas_required: false, custom_metadata: null },
    }
    secret.current++
    secret.updatedMs = nowMs
    const version: Version = { createdMs: nowMs, data, deletedMs: undefined, destroyed: false }
    secret.versions.set(secret.current, version)
    secret.versions.delete(secret.current - (secret.settings.max_versions || mount.max_versions || 10))
    secrets.set(path, secret)
    return { data: described(secret, secret.current, version) }
  }
  const each = (call: Call, change: (version: Version) => void): undefined => {
    const secret = find(call)
    const numbers = Array.isArray(call.body.versions) ? call.body.versions.map((item) => count(item)) : []
    if (numbers.length === 0) throw new VaultError(400, 'no version number provided')
    for (const number of numbers) {
      const version = secret.versions.get(number)
      if (version !== undefined) change(version)
    }
    return undefined
  }
  const softDelete = (version: Version): void => {
    version.deletedMs ??= clock.now()
  }
  const metadata = (call: Call): Reply => {
    const secret = find(call)
    const numbers = [...secret.versions.keys()]
    return {
      data: {
        ...mount,
        ...secret.settings,
        created_time: time(secret.createdMs),
        current_metadata_version: 0,
        current_version: secret.current,
        oldest_version: secret.current > 10 ? Math.min(...numbers) : 0,
        updated_time: time(secret.updatedMs),
        versions: Object.fromEntries(
          [...secret.versions].map(([number, version]) => {
            const { created_time, deletion_time, destroyed } = described(secret, number, version)
            return [number, { created_time, deletion_time, destroyed }]
          }),
        ),
      },
    }
  }
  const setMetadata = (call: Call): undefined => {
    const nowMs = clock.now()
    const secret: Secret = secrets.get(pathOf(call)) ?? {
      createdMs: nowMs,
      updatedMs: nowMs,
      current: 0,
      versions: new Map(),
      settings: { max_versions: 0, cas_required: false, custom_metadata: null },
    }
    const { body } = call
    secret.settings = {
      max_versions: count(body.max_versions, secret.settings.max_versions),
      cas_required: 'cas_required' in body ? body.cas_required === true : secret.settings.cas_required,
      custom_metadata: isMap(body.custom_metadata) ? body.custom_metadata : secret.settings.custom_metadata,
    }
    secrets.set(pathOf(call), secret)
    return undefined
  }
  const exists = (call: Call): boolean => secrets.has(pathOf(call))

  return {
    routes: [
      {
        pattern: 'config',
        on: {
          read: () => ({ data: { ...mount } }),
          update: (call) => {
            mount.max_versions = count(call.body.max_versions, mount.max_versions)
            if ('cas_required' in call.body) mount.cas_required = call.body.cas_required === true
            return undefined
          },
        },
      },
      {
        pattern: 'data/*path',
        exists,
        on: {
          read,
          update: write,
          delete: (call) => {
            const secret = secrets.get(pathOf(call))
            const version = secret?.versions.get(secret.current)
            if (version !== undefined) softDelete(version)
            return undefined
          },
        },
      },
      { pattern: 'delete/*path', on: { update: (call) => each(call, softDelete) } },
      {
        pattern: 'undelete/*path',
        on: {
          update: (call) =>
            each(call, (version) => {
              version.deletedMs = undefined
            }),
        },
      },
      {
        pattern: 'destroy/*path',
        on: {
          update: (call) =>
            each(call, (version) => {
              version.destroyed = true
              version.data = null
            }),
        },
      },
      {
        pattern: 'metadata/*path',
        exists,
        on: {
          read: metadata,
          list: (call) => below(secrets.keys(), pathOf(call)),
          update: setMetadata,
          delete: (call) => void secrets.delete(pathOf(call)),
        },
      },
      {
        pattern: '*path',
        on: {
          read: () => ({
            status: 404,
            data: null,
            warnings: [
              'Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use.',
            ],
          }),
        },
      },
    ],
  }
}
