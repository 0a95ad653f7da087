import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A certificate and its key as PEM, and where they are. */
export interface TestCertificate {
  readonly certificate: string
  readonly key: string
  readonly path: string
}

/** Makes one with `openssl`, signed by `issuer` or by itself, into `folder`. */
export function makeCertificate(
  folder: string,
  name: string,
  over: { readonly issuer?: TestCertificate; readonly extensions: readonly string[] },
): TestCertificate {
  const [path, keyPath] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  const { issuer, extensions } = over
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${name}`, '-keyout', keyPath, '-out', path],
      ...extensions.flatMap((extension) => ['-addext', extension]),
      ...(issuer === undefined ? [] : ['-CA', issuer.path, '-CAkey', issuer.path.replace(/crt$/, 'key')]),
    ],
    { stdio: 'ignore' },
  )
  return { certificate: readFileSync(path, 'utf8'), key: readFileSync(keyPath, 'utf8'), path }
}

export const authorityExtensions = ['basicConstraints=critical,CA:TRUE'] as const
export const leafExtensions = ['basicConstraints=critical,CA:FALSE', 'subjectAltName=IP:127.0.0.1'] as const
