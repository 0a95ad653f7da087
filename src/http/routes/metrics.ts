import type { Metrics } from '../metrics.ts'
import { probeRoute, type Route } from '../route.ts'

/** `/metrics` in the text format of Prometheus. */
export const metricsRoutes = (metrics: Metrics): readonly Route[] => [
  probeRoute({
    path: '/metrics',
    tag: 'operation',
    summary: 'Metrics for Prometheus',
    answers: [{ status: 200, description: 'Metrics', content: 'text/plain' }],
    codes: [],
    async read() {
      const { type, text } = await metrics.render()
      return { status: 200, type, body: text }
    },
  }),
]
