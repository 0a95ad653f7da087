import { z } from 'zod'
import { type Readiness, readinessSchema } from '../../contract/readiness.ts'
import { jsonReply } from '../reply.ts'
import { probeRoute, type Route } from '../route.ts'

const healthSchema = z.object({ status: z.literal('ok') }).meta({ id: 'Health' })

/** Probes: whether the process runs, and whether it should be sent requests. */
export const healthRoutes = (readiness: () => Promise<Readiness>): readonly Route[] => [
  probeRoute({
    path: '/healthz',
    tag: 'operation',
    summary: 'Whether the process runs',
    answers: [{ status: 200, description: 'It runs', content: healthSchema }],
    codes: [],
    read: async () => jsonReply(200, { status: 'ok' }),
  }),
  probeRoute({
    path: '/readyz',
    tag: 'operation',
    summary: 'Whether the broker can issue, and the state of each thing it needs',
    answers: [
      { status: 200, description: 'It can issue', content: readinessSchema },
      { status: 503, description: 'It cannot issue, or is draining', content: readinessSchema },
    ],
    codes: [],
    async read() {
      const state = await readiness()
      return jsonReply(state.ready && !state.draining ? 200 : 503, state)
    },
  }),
]
