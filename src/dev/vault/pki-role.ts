import { isIP } from 'node:net'
import { VaultError } from './backend.ts'
import { commaList, count, flag, seconds, text } from './fields.ts'
import type { AltNames, Csr, KeyType } from './x509.ts'

const defaults = {
  allow_any_name: false,
  allow_bare_domains: false,
  allow_glob_domains: false,
  allow_ip_sans: true,
  allow_localhost: true,
  allow_subdomains: false,
  allow_token_displayname: false,
  allow_wildcard_certificates: true,
  allowed_domains: [] as readonly string[],
  allowed_domains_template: false,
  allowed_ip_sans_cidr: [] as readonly string[],
  allowed_other_sans: [] as readonly string[],
  allowed_serial_numbers: [] as readonly string[],
  allowed_uri_sans: [] as readonly string[],
  allowed_uri_sans_template: false,
  allowed_user_ids: [] as readonly string[],
  basic_constraints_valid_for_non_ca: false,
  client_flag: true,
  cn_validations: ['email', 'hostname'] as readonly string[],
  code_signing_flag: false,
  country: [] as readonly string[],
  email_protection_flag: false,
  enforce_hostnames: true,
  ext_key_usage: [] as readonly string[],
  ext_key_usage_oids: [] as readonly string[],
  generate_lease: false,
  issuer_ref: 'default',
  key_bits: 2048,
  key_type: 'rsa' as KeyType | 'any',
  key_usage: ['DigitalSignature', 'KeyAgreement', 'KeyEncipherment'] as readonly string[],
  locality: [] as readonly string[],
  max_ttl: 0,
  no_store: false,
  not_after: '',
  not_after_bound: 'permit',
  not_before: '',
  not_before_bound: 'permit',
  not_before_duration: 30,
  organization: [] as readonly string[],
  ou: [] as readonly string[],
  policy_identifiers: [] as readonly string[],
  postal_code: [] as readonly string[],
  province: [] as readonly string[],
  require_cn: true,
  server_flag: true,
  signature_bits: 0,
  street_address: [] as readonly string[],
  ttl: 0,
  use_csr_common_name: true,
  use_csr_sans: true,
  use_pss: false,
}

/** A role of the PKI engine with every field filled in. */
export type PkiRole = Readonly<typeof defaults>

/** Reads a role. @throws VaultError 400 */
export function roleFrom(body: Readonly<Record<string, unknown>>): PkiRole {
  const role: Record<string, unknown> = { ...defaults }
  for (const [key, standard] of Object.entries(defaults)) {
    const value = body[key]
    if (value === undefined) continue
    if (key === 'ttl' || key === 'max_ttl' || key === 'not_before_duration') role[key] = seconds(value) ?? 0
    else if (typeof standard === 'boolean') role[key] = flag(value, standard)
    else if (typeof standard === 'number') role[key] = count(value, standard)
    else role[key] = Array.isArray(standard) ? commaList(value) : text(value)
  }
  const type = role.key_type
  if (type !== 'rsa' && type !== 'ec' && type !== 'ed25519' && type !== 'any') {
    throw new VaultError(400, `unknown key type: ${String(type)}`)
  }
  if (body.key_bits === undefined) role.key_bits = type === 'rsa' ? 2048 : type === 'ec' ? 256 : 0
  const max = count(role.max_ttl)
  if (max > 0 && count(role.ttl) > max) {
    throw new VaultError(400, `"ttl" value must be less than "max_ttl" value`)
  }
  return role as PkiRole
}

const hostname = /^(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.?$/i

/** `*` stands for any text, as Vault's globs have it. */
function globMatches(pattern: string, value: string): boolean {
  const parts = pattern.split('*')
  const [first = ''] = parts
  if (parts.length === 1) return pattern === value
  const last = parts.at(-1) ?? ''
  if (!value.startsWith(first) || !value.endsWith(last) || value.length < first.length + last.length) return false
  let at = first.length
  for (const part of parts.slice(1, -1)) {
    const found = value.indexOf(part, at)
    if (found === -1) return false
    at = found + part.length
  }
  return at <= value.length - last.length
}

function nameAllowed(role: PkiRole, name: string): boolean {
  const host = name.includes('@') ? name.slice(name.lastIndexOf('@') + 1) : name
  const bare = host.startsWith('*.') ? host.slice(2) : host
  if (host.startsWith('*.') && !role.allow_wildcard_certificates) return false
  if (role.enforce_hostnames && !hostname.test(host)) return false
  if (role.allow_any_name) return true
  if (role.allow_localhost && (host === 'localhost' || host === 'localdomain')) return true
  return role.allowed_domains.some((domain) => {
    if (host === domain || name === domain) return role.allow_bare_domains
    if (role.allow_subdomains && (bare === domain || bare.endsWith(`.${domain}`))) return true
    return role.allow_glob_domains && domain.includes('*') && globMatches(domain, host)
  })
}

/** The names of a certificate: asked for, or taken from the request, and each one checked. @throws VaultError 400 */
export function namesFor(
  role: PkiRole,
  body: Readonly<Record<string, unknown>>,
  csr: Csr | undefined,
): { readonly commonName: string; readonly altNames: AltNames } {
  const fromCsr = csr !== undefined && role.use_csr_common_name && csr.commonName !== '' ? csr.commonName : undefined
  const commonName = fromCsr ?? text(body.common_name)
  if (commonName === '' && role.require_cn) {
    throw new VaultError(
      400,
      'the common_name field is required, or must be provided in a CSR with "use_csr_common_name" set to true, unless "require_cn" is set to false',
    )
  }
  if (commonName !== '' && !nameAllowed(role, commonName)) {
    throw new VaultError(400, `common name ${commonName} not allowed by this role`)
  }
  const asked = csr !== undefined && role.use_csr_sans ? csr.altNames : sansIn(body)
  const inSans = commonName !== '' && !flag(body.exclude_cn_from_sans, false)
  const email = [...asked.email, ...(inSans && commonName.includes('@') ? [commonName] : [])]
  const dns = [...asked.dns, ...(inSans && !commonName.includes('@') && hostname.test(commonName) ? [commonName] : [])]
  const badName = [...dns, ...email].find((name) => !nameAllowed(role, name))
  if (badName !== undefined) throw new VaultError(400, `subject alternate name ${badName} not allowed by this role`)
  if (asked.ip.length > 0 && !role.allow_ip_sans) {
    const given = asked.ip.join(' ')
    throw new VaultError(400, `IP Subject Alternative Names are not allowed in this role, but was provided [${given}]`)
  }
  const badIp = asked.ip.find((ip) => isIP(ip) === 0)
  if (badIp !== undefined) throw new VaultError(400, `the value "${badIp}" is not a valid IP address`)
  if (asked.uri.some((uri) => !role.allowed_uri_sans.some((pattern) => globMatches(pattern, uri)))) {
    const origin = csr !== undefined && role.use_csr_sans ? 'in the CSR' : 'via the API'
    throw new VaultError(400, `URI Subject Alternative Names were provided ${origin} which are not valid for this role`)
  }
  const unique = (names: readonly string[]): readonly string[] => [...new Set(names)]
  return { commonName, altNames: { dns: unique(dns), email: unique(email), uri: asked.uri, ip: asked.ip } }
}

function sansIn(body: Readonly<Record<string, unknown>>): AltNames {
  const names = commaList(body.alt_names)
  return {
    dns: names.filter((name) => !name.includes('@')),
    email: names.filter((name) => name.includes('@')),
    uri: commaList(body.uri_sans),
    ip: commaList(body.ip_sans),
  }
}
