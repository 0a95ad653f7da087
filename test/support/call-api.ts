/** One request to a broker. */
export interface Call {
  readonly token?: string
  /** Sent as JSON; a text is sent as it is. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/**
 * Members that our answers have, each typed as it is where it is there: a test reads what it expects, and fails on the value
 * when the answer was another one. Where the shape itself is the point, the test parses the schema of the contract.
 */
export interface Body {
  readonly grant: string
  readonly task: string
  readonly approval: string
  readonly status: string
  readonly outcome: string
  readonly code: string
  readonly reasons: readonly string[]
  readonly request_id: string
  readonly secret: Readonly<Record<string, string>>
  readonly rotation: { readonly rotated_at: string; readonly rotates_at?: string }
  readonly issued_at: string
  readonly expires_at: string
  readonly opened_at: string
  readonly heartbeat_due_at: string
  readonly ttl_capped_by: readonly string[]
  readonly ledger: { readonly index: number; readonly receipt: string; readonly size: number }
  readonly ids: readonly { readonly type: string; readonly value: string }[]
  readonly grants: readonly { readonly grant: string; readonly outcome: string; readonly latency_ms: number }[]
  readonly approvals: readonly { readonly approval: string }[]
  readonly entries: readonly {
    readonly index: number
    readonly leaf_hash: string
    readonly entry: Readonly<Record<string, unknown>>
  }[]
  readonly next: string | number | null
  readonly matched: number
  readonly digest: string
  readonly [member: string]: unknown
}

/** An answer as the test looks at it; `text` is the body as it came, `body` the same parsed when it is JSON. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Body
}

const empty = Object.freeze({}) as Body

/** Calls the broker at `url`; POST without a body sends `{}`, as every route of ours takes an object. */
export async function callApi(url: string, method: string, path: string, call: Call = {}): Promise<Answer> {
  const { token, body, headers, signal } = call
  const sent = method === 'GET' ? undefined : typeof body === 'string' ? body : JSON.stringify(body ?? {})
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
    ...(signal === undefined ? {} : { signal }),
  })
  const text = await response.text()
  const json = /[/+]json\b/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, text, body: json ? (JSON.parse(text) as Body) : empty }
}
