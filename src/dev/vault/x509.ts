// The library below resolves its parts by metadata and needs this first.
import 'reflect-metadata'
import { createPublicKey, generateKeyPair, type KeyObject, webcrypto } from 'node:crypto'
import { promisify } from 'node:util'
import * as x509 from '@peculiar/x509'
import { VaultError } from './backend.ts'

const generate = promisify(generateKeyPair)
const { subtle } = webcrypto

/** The kinds of key that a role may ask for. */
export type KeyType = 'rsa' | 'ec' | 'ed25519'

const curves: Readonly<Record<number, string>> = { 224: 'P-224', 256: 'P-256', 384: 'P-384', 521: 'P-521' }

/** Bits of a key where the caller leaves them to us. */
const standardBits = (type: KeyType, bits: number): number => bits || (type === 'rsa' ? 2048 : 256)

/** A fresh private key. @throws VaultError 400 for a size nobody should use */
export async function newKey(type: KeyType, askedBits: number): Promise<KeyObject> {
  const bits = standardBits(type, askedBits)
  if (type === 'ed25519') return (await generate('ed25519')).privateKey
  if (type === 'rsa') {
    if (![2048, 3072, 4096].includes(bits)) throw new VaultError(400, `unsupported bit length for RSA key: ${bits}`)
    return (await generate('rsa', { modulusLength: bits })).privateKey
  }
  const namedCurve = curves[bits]
  if (namedCurve === undefined || bits === 224) throw new VaultError(400, `unsupported bit length for EC key: ${bits}`)
  return (await generate('ec', { namedCurve })).privateKey
}

type Algorithm = Parameters<typeof subtle.importKey>[2] & { name: string }

/** How Web Crypto names the algorithm of a key, for import and for signing. */
function algorithmOf(key: KeyObject): Algorithm {
  if (key.asymmetricKeyType === 'ed25519') return { name: 'Ed25519' }
  if (key.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const curve = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[
    key.asymmetricKeyDetails?.namedCurve ?? ''
  ]
  if (key.asymmetricKeyType !== 'ec' || curve === undefined) throw new VaultError(400, 'unsupported key type in CSR')
  return {
    name: 'ECDSA',
    namedCurve: curve,
    hash: curve === 'P-384' ? 'SHA-384' : curve === 'P-521' ? 'SHA-512' : 'SHA-256',
  }
}

const toSigning = (key: KeyObject): Promise<webcrypto.CryptoKey> =>
  subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), algorithmOf(key), false, ['sign'])
const toVerifying = (key: KeyObject): Promise<webcrypto.CryptoKey> =>
  subtle.importKey('spki', key.export({ type: 'spki', format: 'der' }), algorithmOf(key), true, ['verify'])

/** PEM in the form Vault gives, or PKCS #8 on request. */
export function privateKeyPem(key: KeyObject, pkcs8: boolean): string {
  const own = key.asymmetricKeyType === 'rsa' ? 'pkcs1' : key.asymmetricKeyType === 'ec' ? 'sec1' : 'pkcs8'
  // The two forms take different overloads of `export`.
  const pem =
    pkcs8 || own === 'pkcs8' ? key.export({ type: 'pkcs8', format: 'pem' }) : key.export({ type: own, format: 'pem' })
  return pem.toString().trim()
}

/** Subject alternative names, already checked against the role. */
export interface AltNames {
  readonly dns: readonly string[]
  readonly email: readonly string[]
  readonly uri: readonly string[]
  readonly ip: readonly string[]
}

/** What a certificate says. */
export interface CertificateOrder {
  readonly serial: string
  readonly commonName: string
  readonly organization: readonly string[]
  readonly altNames: AltNames
  readonly fromMs: number
  readonly untilMs: number
  readonly publicKey: KeyObject
  readonly server: boolean
  readonly client: boolean
}

/** A certificate authority that signs. */
export interface Authority {
  readonly certificate: x509.X509Certificate
  readonly key: KeyObject
}

function distinguishedName(commonName: string, organization: readonly string[]): x509.Name {
  const parts: x509.JsonNameParams = organization.map((name) => ({ O: [{ utf8String: name }] }))
  // As an object the name is encoded whatever it holds: text would be parsed, and a comma would start another part.
  if (commonName !== '') parts.push({ CN: [{ utf8String: commonName }] })
  return new x509.Name(parts)
}

/** A self-signed root. */
export async function newRoot(
  order: Omit<CertificateOrder, 'altNames' | 'publicKey' | 'server' | 'client'>,
  key: KeyObject,
): Promise<Authority> {
  const publicKey = await toVerifying(createPublicKey(key))
  const name = distinguishedName(order.commonName, order.organization)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: order.serial,
    subject: name,
    issuer: name,
    notBefore: new Date(order.fromMs),
    notAfter: new Date(order.untilMs),
    publicKey,
    signingKey: await toSigning(key),
    signingAlgorithm: algorithmOf(key) as EcdsaParams,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.BasicConstraintsExtension(true, undefined, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(publicKey),
    ],
  })
  return { certificate, key }
}
type EcdsaParams = { name: string; hash: string }

/** A leaf certificate of the authority. */
export async function newLeaf(authority: Authority, order: CertificateOrder): Promise<x509.X509Certificate> {
  const publicKey = await toVerifying(order.publicKey)
  const { dns, email, uri, ip } = order.altNames
  const names: x509.JsonGeneralNames = [
    ...dns.map((value) => ({ type: 'dns' as const, value })),
    ...email.map((value) => ({ type: 'email' as const, value })),
    ...ip.map((value) => ({ type: 'ip' as const, value })),
    ...uri.map((value) => ({ type: 'url' as const, value })),
  ]
  const usages = [
    ...(order.server ? [x509.ExtendedKeyUsage.serverAuth] : []),
    ...(order.client ? [x509.ExtendedKeyUsage.clientAuth] : []),
  ]
  const flags = x509.KeyUsageFlags
  return await x509.X509CertificateGenerator.create({
    serialNumber: order.serial,
    subject: distinguishedName(order.commonName, order.organization),
    issuer: authority.certificate.subjectName,
    notBefore: new Date(order.fromMs),
    notAfter: new Date(order.untilMs),
    publicKey,
    signingKey: await toSigning(authority.key),
    signingAlgorithm: algorithmOf(authority.key) as EcdsaParams,
    extensions: [
      new x509.KeyUsagesExtension(flags.digitalSignature | flags.keyEncipherment | flags.keyAgreement, true),
      ...(usages.length > 0 ? [new x509.ExtendedKeyUsageExtension(usages)] : []),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(await authority.certificate.publicKey.export()),
      // RFC 5280 section 4.2.1.6: critical when there is no subject.
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names, order.commonName === '')] : []),
    ],
  })
}

/** A list of revoked certificates, good for three days. */
export async function newCrl(
  authority: Authority,
  revoked: readonly { readonly serial: string; readonly revokedMs: number }[],
  nowMs: number,
): Promise<x509.X509Crl> {
  return await x509.X509CrlGenerator.create({
    issuer: authority.certificate.subjectName,
    thisUpdate: new Date(nowMs),
    nextUpdate: new Date(nowMs + 72 * 3600 * 1000),
    entries: revoked.map(({ serial, revokedMs }) => ({ serialNumber: serial, revocationDate: new Date(revokedMs) })),
    signingKey: await toSigning(authority.key),
    signingAlgorithm: algorithmOf(authority.key) as EcdsaParams,
  })
}

/** What a certificate signing request asks for, once its own signature holds. */
export interface Csr {
  readonly publicKey: KeyObject
  readonly commonName: string
  readonly altNames: AltNames
}

/** @throws VaultError 400 when it cannot be read or is not signed by its own key */
export async function readCsr(pem: string): Promise<Csr> {
  if (!pem.includes('-----BEGIN')) throw new VaultError(400, 'csr contains no data')
  let request: x509.Pkcs10CertificateRequest
  try {
    request = new x509.Pkcs10CertificateRequest(pem)
    if (!(await request.verify())) throw new Error('signature')
  } catch {
    throw new VaultError(400, 'certificate request could not be parsed')
  }
  const san = request.extensions.find((item) => item instanceof x509.SubjectAlternativeNameExtension)
  const of = (type: string): string[] =>
    (san?.names.items ?? []).filter((item) => item.type === type).map((item) => item.value)
  return {
    publicKey: createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' }),
    commonName: request.subjectName.getField('CN')[0] ?? '',
    altNames: { dns: of('dns'), email: of('email'), uri: of('url'), ip: of('ip') },
  }
}
