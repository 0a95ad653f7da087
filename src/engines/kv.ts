import { z } from 'zod'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, Minted, MintOrder, MintTarget } from './engine.ts'
import { VaultFault } from './faults.ts'
import { paramsOf, textListParam, vaultPath } from './target.ts'

const params = z.strictObject({ keys: textListParam.optional(), version: z.int().min(1).optional() })

const secretVersion = z.object({
  data: z.record(z.string(), z.unknown()),
  metadata: z.object({ version: z.int().min(1), created_time: z.iso.datetime({ offset: true }) }),
})

/** Static secrets of a kv version 2 mount. Nothing expires and nothing can be ended: policy lets them through by exception only. */
export function createKvEngine(deps: EngineDeps): Engine {
  const { session, leases } = deps

  async function mint(order: MintOrder): Promise<Minted> {
    const { keys, version } = paramsOf(params, order.target)
    const secretPath = vaultPath(order.target.mount, order.target.role)
    const path = vaultPath(order.target.mount, 'data', order.target.role)
    const query = version === undefined ? path : `${path}?version=${version}`
    if (order.delivery === 'wrapped') {
      if (keys !== undefined)
        throw new BrokerFault('engine_refused', `Credential ${order.target.credential}: ${wholeOnly}`)
      const minted = await deps.mintWrapped({ order, leased: false, call: (options) => session.read(query, options) })
      return { ...minted, expiresAtMs: undefined }
    }
    const parsed = secretVersion.safeParse((await session.read(query)).data)
    if (!parsed.success)
      throw new VaultFault('unreadable', `GET ${path}: the answer is not that of a kv version 2 mount`)
    const { data, metadata } = parsed.data
    return {
      secret: new Secret(keys === undefined ? data : pick(data, keys, path)),
      handle: undefined,
      expiresAtMs: undefined,
      renewable: false,
      publicIds: [{ type: 'kv_version', value: `${secretPath}@${metadata.version}` }],
      rotation: { rotatedAtMs: Date.parse(metadata.created_time) },
    }
  }

  return {
    kind: 'kv',
    revocable: () => false,
    acceptedParams: [],
    mint,
    renew: leases.renew,
    // Only the token behind a wrapped secret is ever ended.
    revoke: (handle) => leases.revoke(handle, 10_000),
    leases: async () => undefined,
    lookUp: leases.lookUp,
    needs: ({ mount, role }: MintTarget) => [{ path: `${mount}/data/${role}`, capability: 'read' }],
  }
}

const wholeOnly = 'Vault wraps a secret whole, so `keys` and wrapped delivery exclude each other'

/** Only the named fields. One that is missing is a fault: the caller would run with half a secret. */
function pick(data: Readonly<Record<string, unknown>>, keys: readonly string[], path: string): Record<string, unknown> {
  const missing = keys.filter((key) => !Object.hasOwn(data, key))
  if (missing.length > 0) {
    throw new BrokerFault(
      'engine_refused',
      `GET ${path}: the secret has no field ${missing.join(', ')} that the Credential names`,
    )
  }
  return Object.fromEntries(keys.map((key) => [key, data[key]]))
}
