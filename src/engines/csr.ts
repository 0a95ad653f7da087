import 'reflect-metadata'
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from '@peculiar/x509'
import { BrokerFault } from '../base/errors.ts'

/** The names a certificate may carry, after templates were rendered. */
export interface CertificateNames {
  readonly commonName: string | undefined
  readonly altNames: readonly string[]
  readonly uriSans: readonly string[]
  readonly ipSans: readonly string[]
}

const subjectAltName = '2.5.29.17'
const extensionRequest = '1.2.840.113549.1.9.14'
const maxCsrText = 16_384
const pem =
  /^-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----\r?\n[A-Za-z0-9+/=\r\n]+-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/

/**
 * A PKCS#10 request (RFC 2986) from the caller: attacker-controlled. It brings a public key and proves the private one;
 * the names come from policy. It may repeat those names and nothing else, because a Vault role may be set to prefer
 * what the request says over what the broker says.
 * @throws BrokerFault `request_invalid`
 */
export function checkCsr(text: string, names: CertificateNames): string {
  const invalid = (why: string): BrokerFault => new BrokerFault('request_invalid', `params.csr ${why}`)
  if (text.length > maxCsrText) throw invalid(`is longer than ${maxCsrText} characters`)
  if (!pem.test(text)) throw invalid('is not one PEM block of a certificate request')
  let request: Pkcs10CertificateRequest
  let carried: readonly { type: string; value: string }[]
  let subject: readonly [name: string, value: string][]
  try {
    request = new Pkcs10CertificateRequest(text)
    subject = request.subjectName
      .toJSON()
      .flatMap((part) =>
        Object.entries(part).flatMap(([name, values]) => values.map((value): [string, string] => [name, value])),
      )
    carried = request
      .getExtensions(subjectAltName)
      .flatMap(({ rawData }) => new SubjectAlternativeNameExtension(rawData).names.toJSON())
  } catch {
    throw invalid('cannot be read as a certificate request')
  }
  // Readers differ in which of two lists of extensions they heed.
  if (request.getAttributes(extensionRequest).length > 1) throw invalid('carries more than one list of extensions')
  for (const [name, value] of subject) {
    if (name !== 'CN' || value !== names.commonName)
      throw invalid('names a subject that the Credential does not give it')
  }
  for (const { type, value } of carried) {
    if (!allowed(type, value, names)) throw invalid('asks for an alternative name that the Credential does not give it')
  }
  return request.toString('pem')
}

function allowed(type: string, value: string, names: CertificateNames): boolean {
  if (type === 'dns') return value === names.commonName || names.altNames.includes(value)
  if (type === 'email') return names.altNames.includes(value)
  if (type === 'url') return names.uriSans.includes(value)
  if (type === 'ip') return names.ipSans.includes(value)
  return false
}
