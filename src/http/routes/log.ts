import { ok, type Result, refuse } from '../../base/result.ts'
import type { Broker } from '../../broker.ts'
import type { PublishedLog } from '../../ledger/log/published.ts'
import { type TileId, tileWidth } from '../../ledger/log/tile.ts'
import { createByteServer } from '../bytes.ts'
import type { Reply } from '../reply.ts'
import { type Asked, bearerRoute, type IdKind, openRoute, type Route } from '../route.ts'

type LogRoute<K extends IdKind> = Pick<Route, 'path' | 'summary' | 'answers'> & {
  readonly id?: K
  read(asked: Asked<K, undefined, undefined>): Promise<Result<Reply>>
}

/**
 * The ledger as any C2SP client reads it, below `/log/`: checkpoint, tiles and entry bundles. They hold every entry, so auditors
 * alone may fetch them unless the log is public.
 * @see https://c2sp.org/tlog-tiles
 */
export function logRoutes(broker: Broker, published: { log: PublishedLog; public: boolean }): readonly Route[] {
  const { log } = published
  const scope = published.public ? 'public' : 'private'
  const serve = createByteServer()
  const unchanged = { status: 304, description: 'The client has it already' }

  function logRoute<K extends IdKind = 'grant'>({ read, ...documented }: LogRoute<K>): Route {
    const spec = { ...documented, method: 'get', tag: 'log', write: (reply: Reply) => reply } as const
    if (published.public) return openRoute<Reply, K>({ ...spec, codes: ['not_found'], handle: read })
    return bearerRoute<Reply, K>({
      ...spec,
      codes: ['role_required', 'not_found'],
      async handle(asked) {
        const may = await broker.readLog(asked.caller)
        return may.ok ? read(asked) : may
      },
    })
  }

  async function tile(id: TileId, header: Asked<'tile', undefined, undefined>['header']): Promise<Result<Reply>> {
    const bytes = await log.tile(id)
    if (bytes === undefined) return refuse('not_found', 'tile', 'the newest checkpoint does not cover it')
    // A partial tile never changes either, but before long there is a wider one.
    const age = id.width === tileWidth ? 'max-age=31536000, immutable' : 'max-age=60'
    const served = { bytes, type: 'application/octet-stream', cacheControl: `${scope}, ${age}` }
    return ok(await serve({ ...served, compressible: id.level === 'entries' }, header))
  }

  return [
    logRoute({
      path: '/log/checkpoint',
      summary: 'The newest signed tree head (C2SP tlog-checkpoint)',
      answers: [{ status: 200, description: 'A signed note', content: 'text/plain' }, unchanged],
      async read({ header }) {
        const served = { bytes: Buffer.from(log.checkpoint()), type: 'text/plain; charset=utf-8' }
        return ok(await serve({ ...served, cacheControl: `${scope}, max-age=1`, compressible: false }, header))
      },
    }),
    logRoute({
      path: '/log/tile/{tile}',
      id: 'tile',
      summary:
        'A tile of hashes, `LEVEL/N` or `LEVEL/N.p/WIDTH`, or an entry bundle, `entries/N` (C2SP tlog-tiles); the parameter holds slashes',
      answers: [{ status: 200, description: 'Hashes or entries', content: 'application/octet-stream' }, unchanged],
      read: ({ id, header }) => tile(id, header),
    }),
  ]
}
