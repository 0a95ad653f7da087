import { classify, type FaultKind, faultRules, policyLine, VaultFault } from './faults.ts'
import { type RefusedBody, TransportFailure } from './transport.ts'

/** The verbs of Vault's API. */
export type Verb = 'read' | 'write' | 'list' | 'delete'

interface Refused {
  readonly response: { readonly statusCode: number; readonly body: RefusedBody }
}

function isRefused(thrown: unknown): thrown is Refused {
  return thrown instanceof Error && 'response' in thrown
}

const methods: Readonly<Record<Verb, string>> = { read: 'GET', write: 'POST', list: 'LIST', delete: 'DELETE' }
const capabilities: Readonly<Record<Verb, string>> = { read: 'read', write: 'update', list: 'list', delete: 'delete' }

/** Turns whatever was thrown into a fault that is safe to log. The original is dropped: it carries bodies and headers. */
export function faultOf(thrown: unknown, verb: Verb, path: string, policy = 'of the broker'): VaultFault {
  const what = `${methods[verb]} ${path}`
  if (thrown instanceof TransportFailure) {
    const cause = thrown.reason === '' ? '' : ` (${thrown.reason})`
    return new VaultFault(thrown.kind, `${what}: ${faultRules[thrown.kind].text}${cause}`)
  }
  if (!isRefused(thrown)) return new VaultFault('unreadable', `${what}: ${faultRules.unreadable.text}`)
  const { statusCode: status, body } = thrown.response
  const { name: errorClass, hint } = classify(body.errors)
  const kind = kindOf(status, errorClass, body.fromVault, path.startsWith('sys/leases/revoke'))
  const said = `${status}${errorClass === '' ? '' : `, ${errorClass}`}`
  const details = {
    status,
    errorClass,
    ...(body.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: body.retryAfterSeconds }),
  }
  if (kind === 'denied' && path.startsWith('auth/') && path.endsWith('/login')) {
    return new VaultFault(kind, `${what}: Vault answered ${said}. ${loginHint}`, details)
  }
  if (kind === 'denied') {
    const needed = path.startsWith('sys/leases/lookup/') ? [capabilities[verb], 'sudo'] : [capabilities[verb]]
    return new VaultFault(
      kind,
      `${what}: Vault answered ${said}. The Vault policy ${policy} lacks: ${policyLine(path, needed)}`,
      details,
    )
  }
  const todo = hint === '' ? '' : `: ${hint}`
  return new VaultFault(kind, `${what}: ${faultRules[kind].text} (${said})${todo}`, details)
}

const loginHint = 'It does not take what the broker logs in with; compare that with the role of the login method'

function kindOf(status: number, errorClass: string, fromVault: boolean, revokes: boolean): FaultKind {
  if (errorClass === 'sealed' && status >= 500) return 'sealed'
  // OpenBao answers 400 to a revocation as well: "failed to delete lease entry: leadership lost while committing log".
  if (errorClass === 'interrupted' && (status >= 500 || revokes)) return 'interrupted'
  if (status === 429) return 'rate_limited'
  // 307: a standby that cannot forward names the active node; its address is not followed, the token stays here.
  if (status === 307 || status === 412 || status === 472 || status === 473 || errorClass === 'standby') return 'standby'
  if (status >= 500) return fromVault ? 'server' : 'gateway'
  if (status === 403) return 'denied'
  return fromVault || status === 404 ? 'rejected' : 'gateway'
}
