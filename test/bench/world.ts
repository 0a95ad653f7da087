import { generateKeyPairSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exportJWK, type JWK, SignJWT } from 'jose'
import sshpk from 'sshpk'

/** The mounts under comparison. */
export const engines = ['kv', 'ssh', 'pki', 'database'] as const
export type EngineName = (typeof engines)[number]

/** One workload for each engine, with one purpose and one credential. */
export interface BenchWorkload {
  readonly engine: EngineName
  readonly subject: string
  readonly purpose: string
  readonly params: Readonly<Record<string, string>>
  /** The call to Vault that mints it without the broker. */
  readonly mint: {
    readonly method: 'GET' | 'POST'
    readonly path: string
    readonly body?: Readonly<Record<string, string>>
  }
}

export const audience = 'https://writ.example.com'
export const issuerUrl = 'https://tokens.bench.example'
const publicKey = sshpk.generatePrivateKey('ed25519').toPublic().toString('ssh').split(' ').slice(0, 2).join(' ')

const mints: Readonly<Record<EngineName, BenchWorkload['mint']>> = {
  kv: { method: 'GET', path: 'static/data/vendor/api' },
  ssh: {
    method: 'POST',
    path: 'ssh/sign/deploy',
    body: { public_key: publicKey, valid_principals: 'deploy', cert_type: 'user', ttl: '1800s' },
  },
  pki: { method: 'POST', path: 'pki/issue/workload', body: { common_name: 'bench.example.test', ttl: '3600s' } },
  // A role of its own: the broker ends every lease of its role that it did not make.
  database: { method: 'GET', path: 'database/creds/orders-others' },
}

export const workloads: readonly BenchWorkload[] = engines.map((engine) => ({
  engine,
  subject: `system:serviceaccount:bench:${engine}`,
  purpose: `use-${engine}`,
  params: engine === 'ssh' ? { public_key: publicKey } : {},
  mint: mints[engine],
}))

/** The issuer of the benchmark: RS256 with 2048 bits, as Kubernetes signs. Both servers have its public key from the start. */
export interface BenchIssuer {
  readonly jwk: JWK
  readonly pem: string
  /** That many different tokens of the subject, an hour long. */
  tokens(subject: string, count: number): Promise<readonly string[]>
}

export async function createIssuer(): Promise<BenchIssuer> {
  const { privateKey, publicKey: key } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const kid = 'bench'
  const sign = (subject: string, id: number): Promise<string> =>
    new SignJWT({ jti: `${subject}-${id}` })
      .setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' })
      .setIssuer(issuerUrl)
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(privateKey)
  return {
    jwk: { ...(await exportJWK(key)), kid, alg: 'RS256', use: 'sig' },
    pem: key.export({ type: 'spki', format: 'pem' }).toString(),
    tokens: (subject, count) => Promise.all(Array.from({ length: count }, (_, id) => sign(subject, id))),
  }
}

const day = (offset: number): string => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10)

/** The policies the broker decides by, as full as those of the contract: condition, limits, review, guardrail, sign-off. */
export async function writePolicies(dir: string, jwk: JWK): Promise<void> {
  await mkdir(join(dir, 'workloads'), { recursive: true })
  await writeFile(join(dir, 'common.yaml'), commonDocuments(jwk))
  for (const workload of workloads) {
    await writeFile(join(dir, 'workloads', `${workload.engine}.yaml`), workloadDocument(workload))
  }
}

function commonDocuments(jwk: JWK): string {
  const target: Readonly<Record<EngineName, string>> = {
    kv: 'mount: static\npath: vendor/api',
    ssh: 'mount: ssh\nrole: deploy\nparams: { valid_principals: deploy }\nttl: { max: 30m }',
    pki: 'mount: pki\nrole: workload\nparams: { common_name: bench.example.test }\nttl: { max: 1h }',
    database: 'mount: database\nrole: orders-ro\nttl: { max: 1h }',
  }
  const credential = (engine: EngineName): string =>
    `kind: Credential\nname: ${engine}\nengine: ${engine}\nenvironment: prod\nsensitivity: medium\ndata: [bench]\n${target[engine]}`
  return [
    `kind: Issuer
name: bench
flavour: generic
url: ${issuerUrl}
audience: ${audience}
algorithms: [RS256]
keys: { jwks: ${JSON.stringify({ keys: [jwk] })} }
token: { max_age: 2h, max_life: 2h, replay: allow }
environment: prod`,
    ...['payments', 'platform'].map(
      (name) =>
        `kind: Team\nname: ${name}\ncontact: { email: ${name}@example.com }\nmembers: [{ issuer: bench, subject: alice@${name} }]`,
    ),
    `kind: Guardrail
name: production
applies: { environment: prod }
ttl: { max: 2h }
deny: request.task == "" && workload.type == "agent"`,
    'kind: Guardrail\nname: static-secrets\napplies: { engine: kv }\nallow_static: true',
    ...engines.map(credential),
  ].join('\n---\n')
}

const workloadDocument = ({ engine, subject, purpose }: BenchWorkload): string => `kind: Workload
name: bench-${engine}
type: service
system: bench
owner: payments
backup: platform
custodian: platform
status: active
signoff: { by: alice@payments, on: ${day(-1)} }
match: { issuer: bench, claims: { sub: "${subject}" } }
purposes:
  - id: ${purpose}
    because: Measure what a credential costs
    environment: prod
    credentials: [${engine}]
    ttl: { max: ${engine === 'ssh' ? '30m' : '1h'} }
    when: request.reason != "" || workload.type == "service"
    approval: none
    limits: { active: 1000000, per_minute: 1000000 }
    renewable: true
    review: { every: 90d, last: ${day(-1)}, by: alice@payments }
`
