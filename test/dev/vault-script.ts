import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import * as x509 from '@peculiar/x509'

/** One call of the script that is played to a development server and to a real one. */
export interface Step {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Keeps a part of the answer (a path of keys) under a name; `{name}` in later steps stands for it. */
  readonly keep?: Readonly<Record<string, string>>
}

const get = (path: string, more: Partial<Step> = {}): Step => ({ method: 'GET', path, ...more })
const list = (path: string, more: Partial<Step> = {}): Step => ({ method: 'LIST', path, ...more })
const post = (path: string, body: unknown = {}, more: Partial<Step> = {}): Step => ({
  method: 'POST',
  path,
  body,
  ...more,
})
const remove = (path: string): Step => ({ method: 'DELETE', path })

// A public key and a request made once, so that both servers are asked the same.
const sshKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFT/iXu5jk79u2m3P/6mviWVjXYjR9qR3KVlMZQkVB2n'

/** A certificate signing request for a name, signed with a new P-256 key. */
export async function csrFor(commonName: string): Promise<string> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const { subtle } = globalThis.crypto
  const keys = {
    privateKey: await subtle.importKey(
      'pkcs8',
      createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })).export({ type: 'pkcs8', format: 'der' }),
      algorithm,
      true,
      ['sign'],
    ),
    publicKey: await subtle.importKey('spki', publicKey.export({ type: 'spki', format: 'der' }), algorithm, true, [
      'verify',
    ]),
  }
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [commonName] }],
    keys,
    signingAlgorithm: algorithm,
  })
  return request.toString('pem')
}

export const signing: readonly Step[] = [
  post('sys/mounts/transit', { type: 'transit' }),
  get('transit/keys/absent'),
  post('transit/sign/absent', { input: 'aGk=' }),
  post('transit/keys/odd', { type: 'nonsense' }),
  ...['ecdsa-p256', 'ecdsa-p384', 'ed25519', 'rsa-2048'].flatMap((type) => [
    post(`transit/keys/${type}`, { type }),
    get(`transit/keys/${type}`),
  ]),
  post('transit/sign/ecdsa-p256', { input: 'aGk=', marshaling_algorithm: 'jws', hash_algorithm: 'sha2-256' }),
  post('transit/sign/ecdsa-p256', { input: 'aGk=', hash_algorithm: 'nonsense' }),
  post('transit/sign/ecdsa-p256', { input: 'aGk=', marshaling_algorithm: 'nonsense' }),
  post('transit/sign/ecdsa-p256', { input: 'aGk=', key_version: 7 }),
  post('transit/sign/rsa-2048', { input: 'aGk=', signature_algorithm: 'pkcs1v15' }),
  post('transit/keys/ecdsa-p256', { type: 'ecdsa-p256' }),
  post('transit/keys/ecdsa-p256/rotate'),
  get('transit/keys/ecdsa-p256'),
  post('transit/sign/ecdsa-p256', { input: 'aGk=', key_version: 1 }),
  post('transit/sign/ecdsa-p256', { input: 'aGk=' }),
]

export const tokens: readonly Step[] = [
  get('auth/token/lookup-self'),
  get('auth/token/lookup-self', { token: 'nobody' }),
  get('sys/mounts', { token: '' }),
  post(
    'auth/token/create',
    { policies: ['default'], ttl: '10m', meta: { a: 'b' }, display_name: 'x', num_uses: 3 },
    {
      keep: { used: 'auth.client_token' },
    },
  ),
  get('auth/token/lookup-self', { token: '{used}' }),
  get('sys/mounts', { token: '{used}' }),
  get('auth/token/lookup-self', { token: '{used}' }),
  get('auth/token/lookup-self', { token: '{used}' }),
  post(
    'auth/token/create',
    { policies: ['default'], ttl: '10m' },
    {
      keep: { child: 'auth.client_token', accessor: 'auth.accessor' },
    },
  ),
  post('auth/token/lookup-accessor', { accessor: '{accessor}' }),
  post('auth/token/renew-self', { increment: '20m' }, { token: '{child}' }),
  post('auth/token/create', { policies: ['root'] }, { token: '{child}' }),
  post('auth/token/revoke-accessor', { accessor: '{accessor}' }),
  post('auth/token/revoke-accessor', { accessor: '{accessor}' }),
  get('auth/token/lookup-self', { token: '{child}' }),
  post('auth/token/revoke', { token: 'nobody' }),
  post('auth/token/revoke', {}),
  post('auth/token/renew-self', {}),
  post(
    'auth/token/create',
    { policies: ['default'], ttl: '10m', renewable: false },
    { keep: { fixed: 'auth.client_token' } },
  ),
  post('auth/token/renew-self', {}, { token: '{fixed}' }),
  post('auth/token/create', { policies: ['default'], period: '10m' }),
  post('auth/token/create', { policies: ['default'], ttl: '10m', no_default_policy: true, no_parent: true }),
  post('auth/token/create', { policies: ['default'], ttl: 'soon' }),
  post('auth/token/create-orphan', { policies: ['default'] }),
  post('auth/token/create', {}),
]

export const tokenRoles: readonly Step[] = [
  post('sys/policies/acl/maker', { policy: 'path "auth/token/create/reader" { capabilities = ["update"] }' }),
  post('auth/token/create', { policies: ['maker'], ttl: '10m' }, { keep: { maker: 'auth.client_token' } }),
  ...['reading', 'writing'].map((name) =>
    post(`sys/policies/acl/${name}`, { policy: 'path "a" { capabilities = ["read"] }' }),
  ),
  get('auth/token/roles/reader'),
  post('auth/token/create/reader', { policies: ['reading'] }),
  post('auth/token/roles/reader', {
    allowed_policies: 'reading,writing',
    token_no_default_policy: true,
    renewable: false,
  }),
  get('auth/token/roles/reader'),
  post('auth/token/create/reader', { policies: ['reading'], ttl: '10m' }, { token: '{maker}' }),
  post('auth/token/create/reader', { policies: ['reading'], ttl: '5m', explicit_max_ttl: '2m' }, { token: '{maker}' }),
  post('auth/token/create/reader', { ttl: '10m' }, { token: '{maker}' }),
  post('auth/token/create/reader', { policies: ['root'] }, { token: '{maker}' }),
  post('auth/token/create/reader', { policies: ['other'] }, { token: '{maker}' }),
  post('auth/token/create/other', { policies: ['reading'] }, { token: '{maker}' }),
  post('auth/token/create', { policies: ['reading'] }, { token: '{maker}' }),
  post('auth/token/roles/reader', { token_type: 'batch' }),
  post('auth/token/roles/reader', { token_num_uses: 2, orphan: true }),
  post(
    'auth/token/create/reader',
    { policies: ['reading'], ttl: '50s', num_uses: 9 },
    { token: '{maker}', keep: { accessor: 'auth.accessor', used: 'auth.client_token' } },
  ),
  post('auth/token/lookup-accessor', { accessor: '{accessor}' }),
  post('auth/token/create', {}, { token: '{used}' }),
  list('auth/token/roles'),
  remove('auth/token/roles/reader'),
  get('auth/token/roles/reader'),
]

export const policies: readonly Step[] = [
  {
    method: 'PUT',
    path: 'sys/policies/acl/reader',
    body: {
      policy:
        'path "secret/data/open/*" { capabilities = ["read"] }\npath "secret/data/open/closed" { capabilities = ["deny"] }\npath "secret/data/+/twice" { capabilities = ["update", "create"] }\npath "sys/leases/lookup/x/" { capabilities = ["list"] }',
    },
  },
  get('sys/policies/acl/reader'),
  get('sys/policies/acl/none'),
  { method: 'PUT', path: 'sys/policies/acl/bad', body: { policy: 'path "x" { capabilities = ["fly"] }' } },
  { method: 'PUT', path: 'sys/policies/acl/empty', body: {} },
  post('auth/token/create', { policies: ['reader'], ttl: '10m' }, { keep: { reader: 'auth.client_token' } }),
  post('secret/data/open/a', { data: { k: 'v' } }),
  post('secret/data/open/closed', { data: { k: 'v' } }),
  get('secret/data/open/a', { token: '{reader}' }),
  get('secret/data/open/closed', { token: '{reader}' }),
  post('secret/data/open/a', { data: { k: 'w' } }, { token: '{reader}' }),
  post('secret/data/any/twice', { data: { k: 'w' } }, { token: '{reader}' }),
  get('secret/data/other', { token: '{reader}' }),
  list('sys/leases/lookup/x/', { token: '{reader}' }),
  post(
    'sys/capabilities-self',
    { paths: ['secret/data/open/a', 'sys/mounts', 'secret/data/any/twice'] },
    { token: '{reader}' },
  ),
  post('sys/capabilities', { token: '{reader}', paths: ['secret/data/open/a'] }),
  post('sys/capabilities-self', { paths: ['sys/mounts'] }),
  remove('sys/policies/acl/root'),
  remove('sys/policies/acl/reader'),
]

export const system: readonly Step[] = [
  get('sys/health'),
  get('sys/seal-status'),
  get('sys/leader'),
  get('nowhere/x'),
  post('nowhere/x'),
  get('sys/nothing'),
  post('sys/mounts/kv1', { type: 'kv' }),
  post('kv1/a', { k: 'v' }),
  get('kv1/a'),
  list('kv1/'),
  post('sys/mounts/kv1', { type: 'kv' }),
  post('sys/mounts/odd', { type: 'no-such-engine' }),
  post('sys/mounts/odd', {}),
  get('sys/mounts/kv1'),
  get('sys/mounts/kv1/tune'),
  remove('sys/mounts/kv1'),
  get('kv1/a'),
  post('sys/leases/lookup', { lease_id: 'none' }),
  post('sys/leases/renew', { lease_id: 'none' }),
  post('sys/leases/revoke', { lease_id: 'none' }),
  post('sys/leases/revoke', {}),
  list('sys/leases/lookup/none/'),
]

export const appRole: readonly Step[] = [
  post('sys/auth/approle', { type: 'approle' }),
  list('auth/approle/role'),
  post('auth/approle/role/writ', {
    token_policies: ['default'],
    token_ttl: '1h',
    token_max_ttl: '4h',
    secret_id_num_uses: 1,
  }),
  get('auth/approle/role/writ'),
  get('auth/approle/role/none'),
  get('auth/approle/role/writ/role-id', { keep: { role: 'data.role_id' } }),
  post('auth/approle/role/writ/secret-id', {}, { keep: { secret: 'data.secret_id' } }),
  post('auth/approle/login', { role_id: '{role}', secret_id: 'bad' }, { token: '' }),
  post('auth/approle/login', { role_id: '{role}', secret_id: '{secret}' }, { token: '' }),
  post('auth/approle/login', { role_id: '{role}', secret_id: '{secret}' }, { token: '' }),
  post('auth/approle/login', { role_id: 'bad', secret_id: 'bad' }, { token: '' }),
  post('auth/approle/login', {}, { token: '' }),
  post('auth/approle/login', { role_id: '{role}' }, { token: '' }),
  list('auth/approle/role'),
]

export const wrapping: readonly Step[] = [
  post('secret/data/wrapped', { data: { k: 'v' } }),
  get('secret/data/wrapped', { headers: { 'x-vault-wrap-ttl': '60s' }, keep: { wrap: 'wrap_info.token' } }),
  post('sys/wrapping/lookup', { token: '{wrap}' }),
  post('sys/wrapping/unwrap', {}, { token: '{wrap}' }),
  post('sys/wrapping/unwrap', {}, { token: '{wrap}' }),
  post('sys/wrapping/unwrap', { token: '{wrap}' }),
  post('sys/wrapping/lookup', { token: '{wrap}' }),
  get('secret/data/wrapped', {
    headers: { 'x-vault-wrap-ttl': '60' },
    keep: { wrap: 'wrap_info.token', wrapped: 'wrap_info.accessor' },
  }),
  post('auth/token/revoke-accessor', { accessor: '{wrapped}' }),
  post('sys/wrapping/unwrap', {}, { token: '{wrap}' }),
  get('secret/data/none', { headers: { 'x-vault-wrap-ttl': '60' } }),
  get('secret/data/wrapped', { headers: { 'x-vault-wrap-ttl': '60' }, keep: { wrap: 'wrap_info.token' } }),
  // Spent on something it does not open.
  get('secret/data/wrapped', { token: '{wrap}' }),
  post('sys/wrapping/unwrap', {}, { token: '{wrap}' }),
]

export const keyValue: readonly Step[] = [
  post('secret/data/a/b', { data: { k: 'v' } }),
  post('secret/data/a/b', { data: { k: 'v2' }, options: { cas: 0 } }),
  post('secret/data/a/b', { data: { k: 'v2' }, options: { cas: 1 } }),
  get('secret/data/a/b'),
  get('secret/data/a/b?version=1'),
  get('secret/data/a/b?version=9'),
  get('secret/data/none'),
  get('secret/metadata/a/b'),
  list('secret/metadata/'),
  list('secret/metadata/a'),
  list('secret/metadata/none'),
  remove('secret/data/a/b'),
  get('secret/data/a/b'),
  post('secret/undelete/a/b', { versions: [2] }),
  get('secret/data/a/b'),
  post('secret/destroy/a/b', { versions: [1] }),
  get('secret/data/a/b?version=1'),
  post('secret/destroy/a/b', {}),
  post('secret/data/a/b', { k: 'v' }),
  get('secret/config'),
  remove('secret/metadata/a/b'),
  get('secret/metadata/a/b'),
]

export const certificates = (csr: string): readonly Step[] => [
  post('sys/mounts/pki', { type: 'pki', config: { max_lease_ttl: '8760h' } }),
  post('pki/issue/web', { common_name: 'a.svc.example' }),
  post('pki/root/generate/internal', { common_name: 'Root', ttl: '8760h', key_type: 'ec', key_bits: 256 }),
  post('pki/roles/web', {
    allowed_domains: 'svc.example',
    allow_subdomains: true,
    max_ttl: '1h',
    key_type: 'ec',
    key_bits: 256,
    allowed_uri_sans: 'spiffe://example.org/*',
    allow_ip_sans: false,
  }),
  get('pki/roles/web'),
  get('pki/roles/none'),
  post(
    'pki/issue/web',
    { common_name: 'a.svc.example', ttl: '10m', uri_sans: 'spiffe://example.org/x' },
    { keep: { serial: 'data.serial_number' } },
  ),
  post('pki/issue/web', { common_name: 'a.svc.example', ttl: '10h' }),
  post('pki/issue/web', { common_name: 'evil.test' }),
  post('pki/issue/web', { common_name: 'svc.example' }),
  post('pki/issue/web', { common_name: 'a.svc.example', alt_names: 'evil.test' }),
  post('pki/issue/web', { common_name: 'a.svc.example', uri_sans: 'spiffe://evil/x' }),
  post('pki/issue/web', { common_name: 'a.svc.example', ip_sans: '10.0.0.1' }),
  post('pki/issue/web', {}),
  post('pki/issue/none', { common_name: 'a' }),
  post('pki/sign/web', { csr, ttl: '5m' }),
  post('pki/sign/web', { csr, ttl: '5m', common_name: 'b.svc.example' }),
  post('pki/sign/web', { csr: 'no request' }),
  get('pki/cert/{serial}'),
  get('pki/cert/00:11'),
  get('pki/cert/ca', { token: '' }),
  post('pki/revoke', { serial_number: '{serial}' }),
  post('pki/revoke', { serial_number: '{serial}' }),
  post('pki/revoke', { serial_number: '00:11' }),
  get('pki/cert/{serial}'),
  get('pki/cert/crl'),
  post('pki/roles/leased', {
    allow_any_name: true,
    key_type: 'ec',
    key_bits: 256,
    generate_lease: true,
    max_ttl: '1h',
    ttl: '10m',
  }),
  post('pki/issue/leased', { common_name: 'x.example' }, { keep: { lease: 'lease_id' } }),
  post('sys/leases/lookup', { lease_id: '{lease}' }),
  post('sys/leases/renew', { lease_id: '{lease}' }),
  list('sys/leases/lookup/pki/issue/leased'),
  post('sys/leases/revoke', { lease_id: '{lease}', sync: true }),
  post('sys/leases/lookup', { lease_id: '{lease}' }),
]

export const sshCertificates: readonly Step[] = [
  post('sys/mounts/ssh', { type: 'ssh' }),
  get('ssh/config/ca'),
  post('ssh/config/ca', { generate_signing_key: true, key_type: 'ed25519' }),
  get('ssh/config/ca'),
  post('ssh/roles/ops', {
    key_type: 'ca',
    allow_user_certificates: true,
    allowed_users: 'deploy,ops',
    default_user: 'deploy',
    ttl: '5m',
    max_ttl: '30m',
    allowed_extensions: 'permit-pty',
    default_extensions: { 'permit-pty': '' },
    allow_user_key_ids: true,
  }),
  get('ssh/roles/ops'),
  post('ssh/sign/ops', { public_key: sshKey, valid_principals: 'deploy', key_id: 'writ:x', ttl: '10m' }),
  post('ssh/sign/ops', { public_key: sshKey, valid_principals: 'root' }),
  post('ssh/sign/ops', { public_key: sshKey, extensions: { 'permit-port-forwarding': '' } }),
  post('ssh/sign/ops', { public_key: sshKey, ttl: '10h' }),
  post('ssh/sign/ops', { public_key: sshKey, cert_type: 'host' }),
  post('ssh/sign/ops', {}),
  post('ssh/sign/none', { public_key: sshKey }),
  post('ssh/roles/strict', {
    key_type: 'ca',
    allow_user_certificates: true,
    allowed_users: 'deploy',
    default_user: 'deploy',
    ttl: '5m',
  }),
  post('ssh/sign/strict', { public_key: sshKey, key_id: 'chosen' }),
  post('ssh/sign/strict', { public_key: sshKey, extensions: { 'permit-pty': '' } }),
  post('ssh/sign/strict', { public_key: sshKey }),
]

/** Against a database whose address takes `{{username}}` and `{{password}}`. */
export const databaseUsers = (connection: Readonly<Record<string, string>>): readonly Step[] => [
  post('sys/mounts/database', { type: 'database' }),
  post('database/config/pg', { plugin_name: 'postgresql-database-plugin', allowed_roles: 'ro,stay', ...connection }),
  post('database/config/bad', { plugin_name: 'postgresql-database-plugin', ...connection, password: 'wrong' }),
  get('database/config/pg'),
  get('database/config/none'),
  post('database/roles/ro', {
    db_name: 'pg',
    creation_statements: [`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`],
    revocation_statements: 'DROP ROLE IF EXISTS "{{name}}"',
    default_ttl: '15m',
    max_ttl: '1h',
  }),
  get('database/roles/ro'),
  list('database/roles'),
  get('database/creds/none'),
  get('database/creds/ro', { keep: { lease: 'lease_id' } }),
  post('sys/leases/lookup', { lease_id: '{lease}' }),
  post('sys/leases/renew', { lease_id: '{lease}', increment: 60 }),
  list('sys/leases/lookup/database/creds/ro/'),
  list('sys/leases/lookup/database/creds/other/'),
  remove('database/creds/ro'),
  post('sys/leases/revoke', { lease_id: '{lease}', sync: true }),
  post('sys/leases/revoke', { lease_id: '{lease}', sync: true }),
  post('sys/leases/renew', { lease_id: '{lease}' }),
  post('database/roles/barred', { db_name: 'pg', creation_statements: ['SELECT 1'] }),
  get('database/creds/barred'),
  post('database/roles/lost', { db_name: 'gone', creation_statements: ['SELECT 1'] }),
  get('database/creds/lost'),
  get('database/creds/ro', { headers: { 'x-vault-wrap-ttl': '60' }, keep: { wrap: 'wrap_info.token' } }),
  post('sys/wrapping/unwrap', {}, { token: '{wrap}' }),
  { method: 'PUT', path: 'sys/leases/revoke-prefix/database/creds/ro' },
  list('sys/leases/lookup/database/creds/ro/'),
  post('database/config/pg', { plugin_name: 'postgresql-database-plugin', allowed_roles: 'ro,stay', ...connection }),
  get('database/static-roles/stay'),
  get('database/static-creds/stay'),
  post('database/static-roles/stay', { db_name: 'pg', rotation_period: '1h' }),
  post('database/static-roles/stay', { db_name: 'pg', username: 'stays' }),
  post('database/static-roles/stay', { db_name: 'pg', username: 'stays', rotation_period: 4 }),
  post('database/static-roles/stay', { db_name: 'pg', username: 'nobody', rotation_period: '1h' }),
  post('database/static-roles/ro', { db_name: 'pg', username: 'stays', rotation_period: '1h' }),
  post('database/static-roles/stay', { db_name: 'pg', username: 'stays', rotation_period: '1h' }),
  get('database/static-roles/stay'),
  get('database/static-creds/stay'),
  post('database/rotate-role/stay'),
  post('database/rotate-role/none'),
  get('database/static-creds/stay'),
  post('database/static-roles/stay', { db_name: 'pg', username: 'another', rotation_period: '1h' }),
  remove('database/static-roles/stay'),
  get('database/static-creds/stay'),
]
