import { randomUUID } from 'node:crypto'
import { silentLog } from '../../src/base/log.ts'
import { subjectEvents } from '../../src/contract/signal.ts'
import { endAll } from '../../src/grants/end-all.ts'
import { setLifeSeconds } from '../../src/identity/set.ts'
import { createVerifier } from '../../src/identity/verify.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { createRefusals } from '../../src/ledger/refusals.ts'
import type { PolicySet } from '../../src/policy/policy-set.ts'
import { createSignals, type Signals } from '../../src/signals/signals.ts'
import { base, edit } from '../policy/organisation.ts'
import type { FakeClock } from '../support/clock.ts'
import { grantsStage } from '../support/grants.ts'
import type { TestIssuer } from '../support/issuer.ts'

const audience = 'https://writ.example.com/signals'
export const checkoutSub = 'system:serviceaccount:orders:checkout'
export const clusterUrl = 'https://kubernetes.default.svc'

/** The smallest organisation, and a hub that speaks for its cluster and signs with the key of a test issuer. */
export const withHub = (issuer: TestIssuer, more = '', files = base): Record<string, string> => ({
  ...files,
  'hub.yaml': `kind: Issuer
name: hub
url: ${issuer.url}
keys: { jwks: ${JSON.stringify(issuer.jwks())} }
signals: { audience: "${audience}", speaks_for: [cluster-eu]${more} }
`,
})
export { base, edit }

/** The claims of a SET of the hub, about checkout where nothing else is said. */
export const setClaims = (issuer: TestIssuer, clock: FakeClock, over: object = {}): Record<string, unknown> => ({
  iss: issuer.url,
  sub: undefined,
  exp: undefined,
  aud: audience,
  iat: Math.floor(clock.now() / 1000),
  jti: randomUUID(),
  sub_id: { format: 'iss_sub', iss: clusterUrl, sub: checkoutSub },
  events: { [subjectEvents['session-revoked']]: {} },
  ...over,
})

/** Signs a SET of the hub. */
export const signSet = (
  issuer: TestIssuer,
  clock: FakeClock,
  over: object = {},
  header: object = {},
): Promise<string> =>
  issuer.sign(setClaims(issuer, clock, over), { header: { typ: 'secevent+jwt', ...header }, now: clock.now() / 1000 })

/** The stage of signals over a real ledger and the grants stage, wired as `compose.ts` does. */
export function signalsStage(ledger: Ledger, clock: FakeClock, policies: () => PolicySet) {
  const stage = grantsStage(ledger, clock)
  const verifier = createVerifier({ issuers: () => policies().issuers, clock, log: silentLog })
  const counted: string[] = []
  const signals: Signals = createSignals({
    ...stage,
    verifySet: verifier.verifySet,
    policies,
    endAll: (grants, order) => endAll(stage.ender, grants, order),
    setLifeSeconds,
    count: (signal, outcome) => void counted.push(`${signal} ${outcome}`),
    refusals: createRefusals({ ledger, clock }),
    ledger,
    clock,
    log: silentLog,
  })
  return { ...stage, signals, counted }
}
