import type { IssuedCredential } from '../../contract/credential.ts'
import { lineOf } from './format.ts'
import { certificates, privateKey } from './pem.ts'

/** What a Kubernetes API server knows its caller by. */
export type KubernetesLogin =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'certificate'; readonly certificate: string; readonly key: string }

/** The certificate and key of a secret that has them, else its token. @throws CommandError */
export function kubernetesLogin(issued: IssuedCredential, format: string): KubernetesLogin {
  if (!('certificate' in issued.secret)) {
    return { kind: 'token', token: lineOf(issued, format, 'service_account_token', 'token') }
  }
  return { kind: 'certificate', certificate: certificates(issued, format), key: privateKey(issued, format) }
}
