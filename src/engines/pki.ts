import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { Secret } from '../base/secret.ts'
import { renderTemplate } from '../base/template.ts'
import type { CertificateNames } from './csr.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, LeaseHandle, Minted, MintOrder, MintTarget } from './engine.ts'
import { AmbiguousMint, VaultFault } from './faults.ts'
import { leaseNeeds } from './leased-user.ts'
import { refuseLongLife } from './life.ts'
import { paramsOf, textListParam, vaultPath } from './target.ts'

/** Vault may build the whole CRL anew before it answers. */
const revokeDeadlineMs = 20_000
const params = z.strictObject({
  common_name: z.string().max(253).optional(),
  alt_names: textListParam.optional(),
  uri_sans: textListParam.optional(),
  ip_sans: textListParam.optional(),
  exclude_cn_from_sans: z.boolean().optional(),
  format: z.enum(['pem', 'der', 'pem_bundle']).optional(),
  private_key_format: z.enum(['der', 'pkcs8']).optional(),
  /** The role does not store what it issues (`no_store`), so nothing can be revoked. */
  no_store: z.boolean().default(false),
  /** The role ties certificates to leases (`generate_lease`): they can be listed, and revoked even when wrapped. */
  generate_lease: z.boolean().default(false),
})

const issued = z.object({
  certificate: z.string().min(1),
  issuing_ca: z.string().min(1),
  ca_chain: z.array(z.string()).optional(),
  private_key: z.string().min(1).optional(),
  private_key_type: z.string().optional(),
  serial_number: z.string().regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){0,31}$/),
  expiration: z.number().positive(),
})
type Issued = z.infer<typeof issued>

/**
 * Certificates: `mount/issue/role`, or `mount/sign/role` when the caller sends a CSR, so that its key never leaves it.
 * All names come from the Credential through templates. Revocable by serial unless the role stores nothing.
 */
export function createPkiEngine(deps: EngineDeps): Engine {
  const { session, leases, clock } = deps

  const revoke = (handle: LeaseHandle): Promise<void> => leases.revoke(handle, revokeDeadlineMs)

  async function mint(order: MintOrder): Promise<Minted> {
    const { mount, role } = order.target
    const fixed = paramsOf(params, order.target)
    const names = namesOf(fixed, order)
    const { csr } = order.callerParams
    // Two hundred modules of ASN.1 that a broker without such callers never loads.
    const checkedCsr = csr === undefined ? undefined : (await import('./csr.ts')).checkCsr(csr, names)
    const path = vaultPath(mount, checkedCsr === undefined ? 'issue' : 'sign', role)
    const body = {
      ...(names.commonName === undefined ? {} : { common_name: names.commonName }),
      ...(names.altNames.length === 0 ? {} : { alt_names: names.altNames.join(',') }),
      ...(names.uriSans.length === 0 ? {} : { uri_sans: names.uriSans.join(',') }),
      ...(names.ipSans.length === 0 ? {} : { ip_sans: names.ipSans.join(',') }),
      ...(fixed.exclude_cn_from_sans === undefined ? {} : { exclude_cn_from_sans: fixed.exclude_cn_from_sans }),
      ...(fixed.format === undefined ? {} : { format: fixed.format }),
      ...(fixed.private_key_format === undefined ? {} : { private_key_format: fixed.private_key_format }),
      ...(checkedCsr === undefined ? {} : { csr: checkedCsr }),
      ttl: `${order.ttlSeconds}s`,
    }
    if (order.delivery === 'wrapped') {
      const call = (options: object) => session.write(path, body, options)
      return deps.mintWrapped({ order, leased: fixed.generate_lease, call })
    }
    const startedMs = clock.now()
    const answer = await session.write(path, body, { mints: true })
    const parsed = issued.safeParse(answer.data)
    if (!parsed.success)
      throw new AmbiguousMint(new VaultFault('unreadable', `POST ${path}: the answer holds no certificate`))
    const handle = handleOf(parsed.data, answer.lease_id, fixed.no_store, mount)
    await checkIssued(handle, () => {
      refuseLongLife(path, parsed.data.expiration * 1000, startedMs, order.ttlSeconds)
      if (checkedCsr !== undefined) refuseForeignKey(path, parsed.data, fixed.format, csr ?? '')
    })
    return {
      secret: new Secret(parsed.data),
      handle: handle === undefined ? undefined : new Secret(handle),
      expiresAtMs: parsed.data.expiration * 1000,
      renewable: false,
      publicIds: [{ type: 'certificate_serial', value: parsed.data.serial_number }],
      generation: handle?.type === 'lease' ? answer.generation : undefined,
    }
  }

  /** What fails the check is revoked where it can be, and handed to nobody. */
  async function checkIssued(handle: LeaseHandle | undefined, check: () => void): Promise<void> {
    try {
      check()
    } catch (refusal) {
      if (handle !== undefined) await revoke(handle)
      throw refusal
    }
  }

  return {
    kind: 'pki',
    revocable: (target) => {
      const { generate_lease: leased, no_store: unstored } = paramsOf(params, target)
      return leased || !unstored
    },
    acceptedParams: ['csr'],
    mint,
    renew: leases.renew,
    revoke,
    leases: async (target: MintTarget) => {
      if (!paramsOf(params, target).generate_lease) return undefined
      const [made, signed] = await Promise.all([
        leases.list(target.mount, 'issue', target.role),
        leases.list(target.mount, 'sign', target.role),
      ])
      return chain(made, signed)
    },
    lookUp: leases.lookUp,
    needs: (target, delivery) => {
      const { mount, role } = target
      const fixed = paramsOf(params, target)
      const mints = [`${mount}/issue/${role}`, `${mount}/sign/${role}`]
      const own = mints.map((path) => ({ path, capability: 'update' }))
      if (fixed.generate_lease) {
        const seen = new Map(
          mints.flatMap((path) => leaseNeeds(path, delivery)).map((need) => [`${need.path} ${need.capability}`, need]),
        )
        return [...own, ...seen.values()]
      }
      return fixed.no_store ? own : [...own, { path: `${mount}/revoke`, capability: 'update' }]
    },
  }
}

function* chain<T>(...parts: readonly Iterable<T>[]): Iterable<T> {
  for (const part of parts) yield* part
}

function namesOf(fixed: z.infer<typeof params>, order: MintOrder): CertificateNames {
  const all = (list: readonly string[] | undefined): string[] =>
    (list ?? []).map((text) => renderTemplate(text, order.names))
  return {
    commonName: fixed.common_name === undefined ? undefined : renderTemplate(fixed.common_name, order.names),
    altNames: all(fixed.alt_names),
    uriSans: all(fixed.uri_sans),
    ipSans: all(fixed.ip_sans),
  }
}

function handleOf(certificate: Issued, leaseId: string, unstored: boolean, mount: string): LeaseHandle | undefined {
  if (leaseId !== '') return { type: 'lease', id: leaseId }
  return unstored ? undefined : { type: 'certificate', mount, serial: certificate.serial_number }
}

/** A certificate for another key than the caller's would hand somebody else's identity to the caller, or the reverse. */
function refuseForeignKey(path: string, certificate: Issued, format: string | undefined, csr: string): void {
  const foreign = new VaultFault('unreadable', `POST ${path}: the certificate is not for the key of the request`)
  if (certificate.private_key !== undefined) throw foreign
  const body = format === 'der' ? Buffer.from(certificate.certificate, 'base64') : certificate.certificate
  const key = new X509Certificate(body).publicKey.export({ type: 'spki', format: 'der' })
  // The request holds the same SubjectPublicKeyInfo bytes.
  if (!Buffer.from(csr.replace(/-----[^-]+-----|\s/g, ''), 'base64').includes(key)) throw foreign
}
