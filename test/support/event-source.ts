/** One server-sent event, as HTML's parsing rules make it. */
export interface SeenEvent {
  readonly id: string
  readonly event: string
  readonly data: { readonly index: number; readonly entry: Readonly<Record<string, unknown>> }
}

/** A reader of `GET /v1/ledger/events` over a real connection. */
export interface EventSource {
  readonly status: number
  /** The next events, `count` of them. */
  take(count: number): Promise<readonly SeenEvent[]>
  /** Resolves with the events that were left when the broker has ended the stream. */
  rest(): Promise<readonly SeenEvent[]>
  close(): void
}

export async function openEvents(url: string, token: string, lastEventId?: string): Promise<EventSource> {
  const stop = new AbortController()
  const response = await fetch(url, {
    headers: {
      authorization: `Bearer ${token}`,
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
    signal: stop.signal,
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  const seen: SeenEvent[] = []
  let text = ''

  /** Reads one piece; false at the end. */
  async function read(): Promise<boolean> {
    const piece = await reader?.read()
    if (piece === undefined || piece.done) return false
    const blocks = (text + piece.value).split('\n\n')
    text = blocks.pop() ?? ''
    seen.push(...blocks.flatMap(eventOf))
    return true
  }

  return {
    status: response.status,
    async take(count) {
      while (seen.length < count) if (!(await read())) throw new Error(`the stream ended after ${seen.length} events`)
      return seen.splice(0, count)
    },
    async rest() {
      while (await read());
      return seen.splice(0)
    },
    close: () => stop.abort(),
  }
}

function eventOf(block: string): SeenEvent[] {
  const fields = new Map(
    block.split('\n').map((line) => [line.split(':', 1)[0], line.slice(line.indexOf(':') + 1).trim()]),
  )
  const [id, event, data] = [fields.get('id'), fields.get('event'), fields.get('data')]
  return id === undefined || event === undefined || data === undefined ? [] : [{ id, event, data: JSON.parse(data) }]
}
