/** Calls Vault's HTTP API and hands back the status and the parsed body; for set-up and for looking behind the broker. */
export type VaultApi = (
  method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'LIST',
  path: string,
  body?: object,
) => Promise<{ readonly status: number; readonly body: unknown }>

export function vaultApi(address: string, token: string): VaultApi {
  return async (method, path, body) => {
    const response = await fetch(`${address}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': token, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) }
  }
}

/** The same, but a refusal is an error: for set-up, where nothing may fail unseen. */
export function strictly(api: VaultApi): VaultApi {
  return async (method, path, body) => {
    const answer = await api(method, path, body)
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer
  }
}
