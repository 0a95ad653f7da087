import { Hono } from 'hono'
import type { Clock } from '../base/clock.ts'
import type { GrantId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import type { Broker } from '../broker.ts'
import type { Readiness } from '../contract/readiness.ts'
import type { TokenKeySet } from '../engines/token-key-set.ts'
import type { PublishedLog } from '../ledger/log/published.ts'
import type { Env } from './incoming.ts'
import { defaultLimits, type Limits } from './limits.ts'
import type { Metrics } from './metrics.ts'
import { createPipeline } from './pipeline.ts'
import type { Route } from './route.ts'
import { approvalRoutes } from './routes/approvals.ts'
import { credentialRoutes } from './routes/credentials.ts'
import { docsRoutes } from './routes/docs.ts'
import { eventRoutes } from './routes/events.ts'
import { grantRoutes } from './routes/grants.ts'
import { healthRoutes } from './routes/health.ts'
import { ledgerRoutes } from './routes/ledger.ts'
import { logRoutes } from './routes/log.ts'
import { metricsRoutes } from './routes/metrics.ts'
import { openApiRoutes } from './routes/openapi.ts'
import { policyRoutes } from './routes/policies.ts'
import { reconcileRoutes } from './routes/reconcile.ts'
import { reportRoutes } from './routes/reports.ts'
import { revocationRoutes } from './routes/revocations.ts'
import { signalRoutes } from './routes/signals.ts'
import { taskRoutes } from './routes/tasks.ts'
import { tokenKeyRoutes } from './routes/token-keys.ts'
import { traceRoutes } from './routes/trace.ts'

export interface AppDeps {
  readonly broker: Broker
  readonly readiness: () => Promise<Readiness>
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** Overrides of `defaultLimits`. */
  readonly limits?: Partial<Limits>
  /** Aborted when no more work is taken: streams end then. */
  readonly draining: AbortSignal
  /** The log that is published under `/log/`, to everybody when it is public and to auditors when it is not. */
  readonly publishedLog: { readonly log: PublishedLog; readonly public: boolean }
  /** Public keys of the access tokens that are signed. */
  readonly tokenKeys: TokenKeySet
  /** The public URL of the broker without a trailing slash; links to the documentation start with it. */
  readonly docsUrlBase: string
  readonly version?: string
  /**
   * Ends a grant whose secret could not be handed to its caller: the answer came too late, or the connection was gone.
   * Must not throw.
   */
  readonly onUndelivered?: (grant: GrantId) => void
}

/** The application: give its `fetch` to `startServer`, or call `request` on it in tests. */
export type App = Hono<Env>

/** Every route of the broker on one application. Answers are JSON; whatever is refused or fails is an RFC 9457 problem. */
export function createApp(deps: AppDeps): App {
  const { broker, docsUrlBase } = deps
  const limits = { ...defaultLimits, ...deps.limits }
  const pipeline = createPipeline({
    metrics: deps.metrics,
    log: deps.log,
    clock: deps.clock,
    limits,
    docsUrlBase,
    draining: deps.draining,
    onUndelivered: deps.onUndelivered ?? (() => {}),
  })
  const routes: readonly Route[] = [
    ...credentialRoutes(broker),
    ...grantRoutes(broker),
    ...revocationRoutes(broker),
    ...reportRoutes(broker),
    ...taskRoutes(broker),
    ...approvalRoutes(broker),
    ...ledgerRoutes(broker),
    ...traceRoutes(broker),
    ...eventRoutes(broker, deps.clock, limits.streamBeatMs),
    ...logRoutes(broker, deps.publishedLog),
    ...policyRoutes(broker),
    ...signalRoutes(broker),
    ...reconcileRoutes(broker),
    ...tokenKeyRoutes(deps.tokenKeys),
    ...healthRoutes(deps.readiness),
    ...metricsRoutes(deps.metrics),
    ...openApiRoutes(() => routes, deps.version ?? '0.0.0', docsUrlBase),
    ...docsRoutes(() => routes),
  ]
  const app = new Hono<Env>()
  for (const route of routes) app.on(route.method, honoPath(route.path), pipeline.serve(route))
  // Whatever no route takes goes to an application of its own: a handler for all methods beside each route would make every
  // request run through a chain of two.
  const others = new Hono<Env>()
  for (const [path, allow] of allowedMethods(routes)) {
    others.all(honoPath(path), pipeline.refuse(path, 'method_not_allowed', { allow }))
  }
  others.notFound(pipeline.refuse('unmatched', 'not_found'))
  app.notFound((c) => others.fetch(c.req.raw, c.env))
  for (const each of [app, others]) each.onError((thrown, c) => pipeline.fail(thrown, c))
  return app
}

// The one parameter that holds slashes is the place of a tile.
const honoPath = (path: string): string => path.replace('{tile}', ':tile{.+}').replace(/\{(\w+)\}/g, ':$1')

// The `Allow` header of each path (RFC 9110 section 10.2.1); HEAD comes with GET.
function allowedMethods(routes: readonly Route[]): Map<string, string> {
  const byPath = Map.groupBy(routes, (route) => route.path)
  return new Map(
    [...byPath].map(([path, those]) => [
      path,
      those.map((route) => (route.method === 'get' ? 'GET, HEAD' : 'POST')).join(', '),
    ]),
  )
}
