import { createPublicKey, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { type Backend, type Call, type Reply, systemMaxTtlSeconds, VaultError } from './backend.ts'
import { count, goDuration, seconds, text } from './fields.ts'
import type { Leases } from './leases.ts'
import { namesFor, type PkiRole, roleFrom } from './pki-role.ts'
import { type Authority, type KeyType, newCrl, newKey, newLeaf, newRoot, privateKeyPem, readCsr } from './x509.ts'

interface Issued {
  readonly pem: string
  revokedMs: number | undefined
}

// A serial number is at most 20 octets and positive (RFC 5280 section 4.1.2.2).
function newSerial(): string {
  const bytes = randomBytes(20)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x01
  return bytes.toString('hex')
}
const noUrls =
  'This mount has no URLs of its authority configured (config/urls), so its certificates do not say where to find it.'
/** What is to be said about a role that makes a lease for each certificate. */
function leaseWarnings(role: PkiRole): readonly string[] {
  if (!role.generate_lease) return []
  return role.no_store
    ? ['no_store and generate_lease exclude each other; no_store takes priority']
    : ['generate_lease makes one lease for each certificate, which burdens a server that issues many']
}

const coloned = (serial: string): string => serial.replace(/(..)(?!$)/g, '$1:')
const pemOf = (certificate: { toString(format: 'pem'): string }): string => certificate.toString('pem').trim()

/** The PKI secrets engine: a self-signed root that issues, signs requests and revokes. */
export function createPki(deps: { clock: Clock; leases: Leases; mountPath: string }): Backend {
  const { clock, leases } = deps
  const roles = new Map<string, PkiRole>()
  const issued = new Map<string, Issued>()
  const urls: Record<string, unknown> = { issuing_certificates: [], crl_distribution_points: [], ocsp_servers: [] }
  let authority: (Authority & { readonly issuerId: string }) | undefined

  const theAuthority = (): Authority & { readonly issuerId: string } => {
    if (authority === undefined) {
      throw new VaultError(
        500,
        '1 error occurred:\n\t* error fetching CA certificate: unable to fetch default issuer: no default issuer currently configured\n\n',
      )
    }
    return authority
  }
  const roleOf = (call: Call): PkiRole => {
    const role = roles.get(call.names.name ?? '')
    if (role === undefined) throw new VaultError(400, `unknown role: ${call.names.name}`)
    return role
  }

  const generateRoot = async (call: Call): Promise<Reply> => {
    const kind = call.names.kind
    if (kind !== 'internal' && kind !== 'exported') throw new VaultError(400, `unsupported key kind ${kind}`)
    const commonName = text(call.body.common_name)
    if (commonName === '') throw new VaultError(400, 'the common_name field must be supplied')
    const type = text(call.body.key_type, 'rsa') as KeyType
    if (!['rsa', 'ec', 'ed25519'].includes(type)) throw new VaultError(400, `unknown key type: ${type}`)
    const key = await newKey(type, count(call.body.key_bits))
    const max = call.mount.config.max_lease_ttl || systemMaxTtlSeconds
    const life = Math.min(seconds(call.body.ttl) || call.mount.config.default_lease_ttl || max, max)
    const nowMs = clock.now()
    const serial = newSerial()
    const organization = text(call.body.organization) === '' ? [] : [text(call.body.organization)]
    const fresh = await newRoot(
      { serial, commonName, organization, fromMs: nowMs - 30_000, untilMs: nowMs + life * 1000 },
      key,
    )
    authority = { ...fresh, issuerId: randomUUID() }
    const pem = pemOf(fresh.certificate)
    issued.set(coloned(serial), { pem, revokedMs: undefined })
    return {
      data: {
        certificate: pem,
        expiration: Math.floor((nowMs + life * 1000) / 1000),
        issuer_id: authority.issuerId,
        issuer_name: text(call.body.issuer_name),
        issuing_ca: pem,
        key_id: randomUUID(),
        key_name: text(call.body.key_name),
        serial_number: coloned(serial),
        ...(kind === 'exported' ? { private_key: privateKeyPem(key, false), private_key_type: type } : {}),
      },
      ...(Object.values(urls).flat().length > 0 ? {} : { warnings: [noUrls] }),
    }
  }

  const lifeFor = (role: PkiRole, call: Call): { life: number; warnings: readonly string[] } => {
    const max = Math.min(
      role.max_ttl || Number.POSITIVE_INFINITY,
      call.mount.config.max_lease_ttl || systemMaxTtlSeconds,
    )
    const wanted = seconds(call.body.ttl) || role.ttl || call.mount.config.default_lease_ttl || systemMaxTtlSeconds
    const life = Math.min(wanted, max)
    const warnings =
      wanted > max
        ? [`TTL "${goDuration(wanted)}" is longer than permitted maxTTL "${goDuration(max)}", so maxTTL is being used`]
        : []
    return { life, warnings }
  }

  const certify = async (
    call: Call,
    role: PkiRole,
    publicKey: KeyObject,
    extra: Readonly<Record<string, unknown>>,
    csr?: Awaited<ReturnType<typeof readCsr>>,
  ): Promise<Reply> => {
    const signer = theAuthority()
    const { commonName, altNames } = namesFor(role, call.body, csr)
    const { life, warnings } = lifeFor(role, call)
    const nowMs = clock.now()
    const fromMs = nowMs - role.not_before_duration * 1000
    const untilMs = nowMs + life * 1000
    if (untilMs > signer.certificate.notAfter.getTime()) {
      throw new VaultError(
        400,
        `cannot satisfy request, as TTL would result in notAfter of ${new Date(untilMs).toISOString()} that is beyond the expiration of the CA certificate at ${signer.certificate.notAfter.toISOString()}`,
      )
    }
    const bothNames = csr !== undefined && role.use_csr_common_name && text(call.body.common_name) !== ''
    const ignored = bothNames
      ? ['the common_name field was provided but the role is set with "use_csr_common_name" set to true']
      : []
    const serial = newSerial()
    const certificate = await newLeaf(signer, {
      serial,
      commonName,
      organization: role.organization,
      altNames,
      fromMs,
      untilMs,
      publicKey,
      server: role.server_flag,
      client: role.client_flag,
    })
    const pem = pemOf(certificate)
    const name = coloned(serial)
    if (!role.no_store) issued.set(name, { pem, revokedMs: undefined })
    const ca = pemOf(signer.certificate)
    const lease =
      role.generate_lease && !role.no_store
        ? leases.add({
            prefix: `${deps.mountPath}${call.path}/`,
            tokenId: call.token?.id ?? '',
            ttlSeconds: life,
            maxTtlSeconds: life,
            renewable: false,
            end: async () => void revoke(name),
          })
        : undefined
    return {
      data: {
        ca_chain: [ca],
        certificate: pem,
        expiration: Math.floor(untilMs / 1000),
        issuing_ca: ca,
        not_before: Math.floor(fromMs / 1000),
        ...extra,
        serial_number: name,
      },
      warnings: [...warnings, ...ignored],
      ...(lease === undefined ? {} : { lease: { id: lease.id, durationSeconds: life, renewable: false } }),
    }
  }
  const issue = async (call: Call): Promise<Reply> => {
    const role = roleOf(call)
    theAuthority()
    // Names are checked before a key is made: a refusal costs nothing.
    namesFor(role, call.body, undefined)
    const type = role.key_type
    if (type === 'any') {
      throw new VaultError(400, 'role key type "any" not allowed for issuing certificates, only signing')
    }
    const key = await newKey(type, role.key_bits)
    const pkcs8 = text(call.body.private_key_format) === 'pkcs8'
    return await certify(call, role, createPublicKey(key), {
      private_key: privateKeyPem(key, pkcs8),
      private_key_type: type,
    })
  }
  const sign = async (call: Call): Promise<Reply> => {
    const role = roleOf(call)
    const csr = await readCsr(text(call.body.csr))
    const type = csr.publicKey.asymmetricKeyType
    if (role.key_type !== 'any' && role.key_type !== type) {
      throw new VaultError(400, `role requires keys of type ${role.key_type}`)
    }
    return await certify(call, role, csr.publicKey, {}, csr)
  }

  const revoke = (serial: string): Issued | undefined => {
    const found = issued.get(serial)
    if (found !== undefined) found.revokedMs ??= clock.now()
    return found
  }
  const times = (found: Issued): Readonly<Record<string, unknown>> => ({
    revocation_time: found.revokedMs === undefined ? 0 : Math.floor(found.revokedMs / 1000),
    revocation_time_rfc3339: found.revokedMs === undefined ? '' : new Date(found.revokedMs).toISOString(),
  })
  const revokeRoute = (call: Call): Reply => {
    const serial = text(call.body.serial_number).toLowerCase().replaceAll('-', ':')
    if (serial === '') throw new VaultError(400, 'The serial number or certificate to revoke must be provided.')
    const found = revoke(serial)
    if (found === undefined) throw new VaultError(400, `certificate with serial ${serial} not found.`)
    return { data: { ...times(found), state: 'revoked' } }
  }
  const crlPem = async (): Promise<string> => {
    const revoked = [...issued].flatMap(([serial, { revokedMs }]) =>
      revokedMs === undefined ? [] : [{ serial: serial.replaceAll(':', ''), revokedMs }],
    )
    // The label of RFC 7468 section 6, which the library shortens.
    return pemOf(await newCrl(theAuthority(), revoked, clock.now())).replaceAll(/(BEGIN|END) CRL/g, '$1 X509 CRL')
  }
  const readCertificate = async (call: Call): Promise<Reply> => {
    const name = (call.names.serial ?? '').toLowerCase().replaceAll('-', ':')
    const none = { revocation_time: 0, revocation_time_rfc3339: '' }
    if (name === 'ca') return { data: { certificate: pemOf(theAuthority().certificate), ...none } }
    if (name === 'crl') return { data: { certificate: await crlPem(), ...none } }
    const found = issued.get(name)
    if (found === undefined) throw new VaultError(404)
    const issuer = found.revokedMs === undefined ? {} : { issuer_id: theAuthority().issuerId }
    return { data: { certificate: found.pem, ...issuer, ...times(found) } }
  }
  const list = (keys: string[]): Reply => {
    if (keys.length === 0) throw new VaultError(404)
    return { data: { keys: keys.sort() } }
  }
  const asPem = (body: string): Reply => ({ raw: { type: 'application/pem-certificate-chain', body } })
  const der = (pem: string): Uint8Array => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64')

  return {
    routes: [
      { pattern: 'root/generate/:kind', on: { update: generateRoot } },
      {
        pattern: 'config/urls',
        on: { read: () => ({ data: urls }), update: (call) => ({ data: Object.assign(urls, call.body) }) },
      },
      { pattern: 'roles/', on: { list: () => list([...roles.keys()]) } },
      {
        pattern: 'roles/:name',
        on: {
          read: (call) => {
            const role = roles.get(call.names.name ?? '')
            if (role === undefined) throw new VaultError(404)
            return { data: role }
          },
          update: (call) => {
            const role = roleFrom(call.body)
            roles.set(call.names.name ?? '', role)
            return { data: role, warnings: leaseWarnings(role) }
          },
          delete: (call) => void roles.delete(call.names.name ?? ''),
        },
      },
      { pattern: 'issue/:name', on: { update: issue } },
      { pattern: 'sign/:name', on: { update: sign } },
      { pattern: 'revoke', on: { update: revokeRoute } },
      { pattern: 'certs/', on: { list: () => list([...issued.keys()]) } },
      {
        pattern: 'certs/revoked/',
        on: {
          list: () => list([...issued].filter(([, { revokedMs }]) => revokedMs !== undefined).map(([name]) => name)),
        },
      },
      { pattern: 'cert/:serial', open: true, on: { read: readCertificate } },
      {
        pattern: 'ca',
        open: true,
        on: { read: () => ({ raw: { type: 'application/pkix-cert', body: der(pemOf(theAuthority().certificate)) } }) },
      },
      { pattern: 'ca/pem', open: true, on: { read: () => asPem(pemOf(theAuthority().certificate)) } },
      { pattern: 'ca_chain', open: true, on: { read: () => asPem(pemOf(theAuthority().certificate)) } },
      {
        pattern: 'crl',
        open: true,
        on: { read: async () => ({ raw: { type: 'application/pkix-crl', body: der(await crlPem()) } }) },
      },
      {
        pattern: 'crl/pem',
        open: true,
        on: { read: async () => ({ raw: { type: 'application/x-pem-file', body: await crlPem() } }) },
      },
      { pattern: 'crl/rotate', on: { read: () => ({ data: { success: true } }) } },
    ],
  }
}
