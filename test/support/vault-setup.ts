import { readFile } from 'node:fs/promises'
import { exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { eventually } from './child.ts'
import type { TestPostgres } from './postgres.ts'
import { strictly, type VaultApi } from './vault-api.ts'

/** Tokens the set-up made. `reduced` lacks every line about `orders-ro`; `parent` is what AppRole logs in with. */
export interface VaultSetUp {
  readonly brokerToken: string
  readonly reducedToken: string
  readonly roleId: string
  readonly secretId: string
  /** A token that the `jwt` method at `auth/ci` takes for its role `writ`, with other claims laid over it. */
  jwt(claims?: Readonly<Record<string, unknown>>): Promise<string>
}

/**
 * Mounts, roles and policies for the engine contract, over Vault's HTTP API alone:
 * `POST sys/mounts/*`, `POST database/config/*`, `POST database/roles/*`, `POST database/static-roles/*`, `POST pki/root/generate/internal`,
 * `POST pki/roles/*`, `POST auth/token/roles/*`, `POST ssh/config/ca`, `POST ssh/roles/*`, `POST static/data/*`, `POST sys/policies/acl/*`,
 * `POST auth/token/create` (policies, period, no_default_policy), `POST sys/auth/approle`, `POST auth/approle/role/*`,
 * `GET auth/approle/role/writ/role-id`, `POST auth/approle/role/writ/secret-id`, `POST sys/auth/ci` (type jwt),
 * `POST auth/ci/config` (jwt_validation_pubkeys), `POST auth/ci/role/writ`.
 * @param root calls with a token that may do anything
 */
export async function setUpVault(root: VaultApi, postgres: TestPostgres): Promise<VaultSetUp> {
  const api = strictly(root)
  await setUpDatabase(api, postgres)
  await setUpPki(api)
  await setUpSsh(api)
  await setUpTransit(api)
  await api('POST', 'sys/mounts/static', { type: 'kv', options: { version: '2' } })
  await setUpTokens(api)
  return setUpAccess(api)
}

/** The `database` mount: a role with fast revocation, one whose revocation always fails in PostgreSQL, and a static one. */
async function setUpDatabase(api: VaultApi, postgres: TestPostgres): Promise<void> {
  const { host, pathname } = new URL(postgres.url)
  await api('POST', 'sys/mounts/database', { type: 'database' })
  await api('POST', 'database/config/orders', {
    plugin_name: 'postgresql-database-plugin',
    connection_url: `postgresql://{{username}}:{{password}}@${host}${pathname}?sslmode=disable`,
    username: 'admin',
    password: postgres.adminPassword,
    allowed_roles: '*',
  })
  const role = {
    db_name: 'orders',
    creation_statements: [
      `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
      'GRANT SELECT ON orders TO "{{name}}"',
    ],
    revocation_statements: ['DROP OWNED BY "{{name}}"', 'DROP ROLE IF EXISTS "{{name}}"'],
    default_ttl: '10m',
    max_ttl: '1h',
  }
  await api('POST', 'database/roles/orders-ro', role)
  await api('POST', 'database/static-roles/ledger-app', {
    db_name: 'orders',
    username: 'ledger_app',
    rotation_period: '1h',
  })
  await api('POST', 'database/roles/stuck', { ...role, revocation_statements: ['SELECT 1 / 0'] })
}

async function setUpPki(api: VaultApi): Promise<void> {
  await api('POST', 'sys/mounts/pki', { type: 'pki', config: { max_lease_ttl: '87600h' } })
  await api('POST', 'pki/root/generate/internal', {
    common_name: 'test root',
    ttl: '8760h',
    key_type: 'ec',
    key_bits: 256,
  })
  const role = {
    allowed_domains: 'example.test',
    allow_subdomains: true,
    allowed_uri_sans: 'spiffe://example.test/*',
    key_type: 'ec',
    key_bits: 256,
    max_ttl: '24h',
    use_csr_common_name: false,
    use_csr_sans: false,
  }
  await api('POST', 'pki/roles/workload', role)
  await api('POST', 'pki/roles/unstored', { ...role, no_store: true })
  await api('POST', 'pki/roles/leased', { ...role, generate_lease: true })
}

async function setUpSsh(api: VaultApi): Promise<void> {
  await api('POST', 'sys/mounts/ssh', { type: 'ssh' })
  await api('POST', 'ssh/config/ca', { generate_signing_key: true, key_type: 'ed25519' })
  const role = {
    key_type: 'ca',
    allow_user_certificates: true,
    allowed_users: 'deploy,app-checkout',
    allowed_extensions: 'permit-pty,permit-port-forwarding',
    allowed_critical_options: 'source-address',
    ttl: '30m',
    max_ttl: '1h',
  }
  await api('POST', 'ssh/roles/deploy', { ...role, allow_user_key_ids: true })
  await api('POST', 'ssh/roles/no-key-id', role)
}

/** Token roles: as they should be, one whose tokens outlive their parent, one that lowers the number of uses. */
async function setUpTokens(api: VaultApi): Promise<void> {
  await api('POST', 'sys/policies/acl/app-reader', {
    policy: 'path "static/data/vendor/api" { capabilities = ["read"] }',
  })
  const role = { allowed_policies: 'app-reader', token_no_default_policy: true, renewable: false }
  await api('POST', 'auth/token/roles/app-reader', role)
  await api('POST', 'auth/token/roles/orphaning', { ...role, orphan: true })
  await api('POST', 'auth/token/roles/sparing', { ...role, token_num_uses: 2 })
}

async function setUpTransit(api: VaultApi): Promise<void> {
  await api('POST', 'sys/mounts/transit', { type: 'transit' })
  for (const type of ['ecdsa-p256', 'ecdsa-p521', 'ed25519', 'rsa-2048']) {
    await api('POST', `transit/keys/tokens-${type}`, { type })
  }
  await api('POST', 'transit/keys/tokens', { type: 'ecdsa-p256' })
}

async function setUpAccess(api: VaultApi): Promise<VaultSetUp> {
  // A new kv mount answers 400 while it prepares its versions.
  const first = { data: { user: 'vendor', api_key: 'canary-first' } }
  await eventually(() => api('POST', 'static/data/vendor/api', first), 'the kv mount is ready')
  await api('POST', 'static/data/vendor/api', { data: { user: 'vendor', api_key: 'canary-second' } })
  const documented = await documentedPolicies()
  const extra = extraRoles.join('\n')
  await api('POST', 'sys/policies/acl/writ-broker', { policy: `${documented['writ-broker']}\n${extra}` })
  await api('POST', 'sys/policies/acl/writ-wrapped', {
    policy: `${documented['writ-wrapped']}\npath "pki/issue/leased" { capabilities = ["update"] }`,
  })
  const reduced = documented['writ-broker'].replaceAll(/^path "[^"]*orders-ro\/?".*$/gm, '')
  await api('POST', 'sys/policies/acl/writ-reduced', { policy: reduced })
  await api('POST', 'sys/auth/approle', { type: 'approle' })
  const policies = ['writ-broker', 'writ-wrapped']
  await api('POST', 'auth/approle/role/writ', { token_policies: policies, token_period: '1h' })
  const jwt = await setUpJwt(api, policies)
  return {
    jwt,
    brokerToken: await newToken(api, policies),
    reducedToken: await newToken(api, ['writ-reduced']),
    roleId: text((await api('GET', 'auth/approle/role/writ/role-id')).body, 'data', 'role_id'),
    secretId: text((await api('POST', 'auth/approle/role/writ/secret-id', {})).body, 'data', 'secret_id'),
  }
}

async function setUpJwt(api: VaultApi, policies: readonly string[]): Promise<VaultSetUp['jwt']> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  await api('POST', 'sys/auth/ci', { type: 'jwt' })
  const bound_issuer = 'https://ci.example.com'
  await api('POST', 'auth/ci/config', { jwt_validation_pubkeys: [await exportSPKI(publicKey)], bound_issuer })
  await api('POST', 'auth/ci/role/writ', {
    role_type: 'jwt',
    user_claim: 'sub',
    bound_audiences: ['vault'],
    bound_subject: 'writ',
    token_policies: policies,
    token_ttl: '5m',
    token_max_ttl: '1h',
  })
  return (claims = {}) =>
    new SignJWT({ iss: bound_issuer, sub: 'writ', aud: 'vault', ...claims })
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey)
}

/** Roles that only the tests have. */
const extraRoles = [
  'path "database/creds/stuck" { capabilities = ["read"] }',
  'path "pki/issue/unstored" { capabilities = ["update"] }',
  'path "pki/issue/leased" { capabilities = ["update"] }',
  'path "sys/leases/lookup/pki/issue/leased/" { capabilities = ["list", "sudo"] }',
  'path "sys/leases/lookup/pki/sign/leased/" { capabilities = ["list", "sudo"] }',
  'path "transit/+/tokens*" { capabilities = ["read", "update"] }',
  'path "ssh/sign/no-key-id" { capabilities = ["update"] }',
  'path "auth/token/create/orphaning" { capabilities = ["update"] }',
  'path "auth/token/create/sparing" { capabilities = ["update"] }',
]

async function newToken(api: VaultApi, policies: readonly string[]): Promise<string> {
  const { body } = await api('POST', 'auth/token/create', { policies, period: '1h', no_default_policy: true })
  return text(body, 'auth', 'client_token')
}

/** The policies as `docs/vault-policy.md` gives them, so that the page is what the tests run under. */
async function documentedPolicies(): Promise<Record<'writ-broker' | 'writ-wrapped', string>> {
  const page = await readFile(new URL('../../docs/vault-policy.md', import.meta.url), 'utf8')
  const block = (name: string): string => {
    const found = [...page.matchAll(/```hcl\n([\s\S]*?)```/g)].find(([, hcl]) => hcl?.startsWith(`# ${name}\n`))?.[1]
    if (found === undefined) throw new Error(`docs/vault-policy.md has no block that starts with # ${name}`)
    return found
  }
  return { 'writ-broker': block('writ-broker'), 'writ-wrapped': block('writ-wrapped') }
}

/** One text inside a parsed body. */
export function text(body: unknown, ...path: readonly string[]): string {
  const found = path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined),
    body,
  )
  if (typeof found !== 'string') throw new Error(`no text at ${path.join('.')}`)
  return found
}
