import type { Clock } from '../../base/clock.ts'
import { ok, type Result, refuse } from '../../base/result.ts'
import type { Broker } from '../../broker.ts'
import { type EventFilter, eventFilterSchema } from '../../contract/ledger.ts'
import { createEventStreams } from '../event-stream.ts'
import { bearerRoute, type Route } from '../route.ts'

/** `/v1/ledger/events`: the record as it grows. */
export function eventRoutes(broker: Broker, clock: Clock, beatMs: number): readonly Route[] {
  const eventStream = createEventStreams(clock, beatMs)
  return [
    bearerRoute({
      method: 'get',
      path: '/v1/ledger/events',
      tag: 'ledger',
      summary:
        'Follow the ledger: server-sent events `entry`, resumable by `Last-Event-ID`; ends when the token does, and for a reader that falls behind',
      query: eventFilterSchema,
      streams: true,
      answers: [{ status: 200, description: 'Entries as they are recorded', content: 'text/event-stream' }],
      codes: ['role_required'],
      async handle({ caller, query, header }) {
        const filter = resumed(query, header('last-event-id'))
        return filter.ok ? broker.events(caller, filter.value) : filter
      },
      write: (feed) => ({
        status: 200,
        type: 'text/event-stream',
        body: eventStream(feed),
        // nginx would otherwise keep events until it has a few kilobytes of them.
        headers: { 'x-accel-buffering': 'no' },
      }),
    }),
  ]
}

/** A client that connects again sends the URL it began with and, in the header, where it is by now. */
function resumed(filter: EventFilter, lastEventId: string | undefined): Result<EventFilter> {
  if (lastEventId === undefined || lastEventId === '') return ok(filter)
  const after = eventFilterSchema.shape.after.safeParse(lastEventId)
  return after.success
    ? ok({ ...filter, after: after.data })
    : refuse('request_invalid', 'Last-Event-ID: not the id of an event of this ledger', 'last-event-id')
}
