import { jsonText } from '../terminal.ts'
import type { Format } from './format.ts'
import { kubernetesLogin } from './kubernetes.ts'

/** The answer of an `exec` plugin of a kubeconfig. @see Kubernetes, client.authentication.k8s.io/v1, ExecCredential */
export const execCredential: Format = {
  name: 'exec-credential',
  takes: [],
  prepare: () => (issued) => {
    const login = kubernetesLogin(issued, 'exec-credential')
    return `${jsonText({
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: {
        ...(issued.expires_at === null ? {} : { expirationTimestamp: issued.expires_at }),
        ...(login.kind === 'token'
          ? { token: login.token }
          : { clientCertificateData: login.certificate, clientKeyData: login.key }),
      },
    })}\n`
  },
}
