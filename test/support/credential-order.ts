import type { MintOrder, MintTarget } from '../../src/engines/engine.ts'
import { credentialSchema, mintsWith } from '../../src/policy/credential.ts'

const grant = 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3'

/** What Vault is asked with for a Credential document, which goes through the real schema. */
export function targetOf(document: Readonly<Record<string, unknown>>): MintTarget {
  const policy = credentialSchema.parse({
    kind: 'Credential',
    name: 'under-test',
    environment: 'prod',
    sensitivity: 'low',
    ttl: { max: '1h' },
    ...document,
  })
  return { credential: policy.name, engine: policy.engine, mount: policy.mount, ...mintsWith(policy) }
}

export function orderFor(document: Readonly<Record<string, unknown>>, over: Partial<MintOrder> = {}): MintOrder {
  return {
    grant,
    target: targetOf(document),
    names: { workload: 'checkout', grant, purpose: 'read-orders', environment: 'prod', owner: 'payments', task: '' },
    callerParams: {},
    ttlSeconds: 120,
    delivery: 'plain',
    ...over,
  }
}
