import { readFileSync } from 'node:fs'
import { CommandError, exit, UsageError } from '../command.ts'
import { jsonText } from '../terminal.ts'
import { base64, type Format } from './format.ts'
import { kubernetesLogin } from './kubernetes.ts'

/**
 * A file for `KUBECONFIG` with one cluster, user and context, all named after the credential. It is JSON, which every reader of YAML
 * reads, and in which nothing of a value can become structure. @see Kubernetes, "kubeconfig (v1)"
 */
export const kubeconfig: Format = {
  name: 'kubeconfig',
  takes: ['server', 'ca', 'namespace'],
  prepare({ values }) {
    const { server, namespace } = values
    if (server === undefined) throw new UsageError('--format kubeconfig needs --server')
    if (!URL.canParse(server) || new URL(server).protocol !== 'https:')
      throw new UsageError('--server is an https:// URL')
    const ca = values.ca === undefined ? {} : { 'certificate-authority-data': base64(readCa(values.ca)) }
    return (issued) => {
      const name = issued.credential
      const own = issued.secret.service_account_namespace
      const within = namespace ?? (typeof own === 'string' ? own : undefined)
      const login = kubernetesLogin(issued, 'kubeconfig')
      const user =
        login.kind === 'token'
          ? { token: login.token }
          : { 'client-certificate-data': base64(login.certificate), 'client-key-data': base64(login.key) }
      const context = { cluster: name, user: name, ...(within === undefined ? {} : { namespace: within }) }
      return `${jsonText(
        {
          apiVersion: 'v1',
          kind: 'Config',
          clusters: [{ name, cluster: { server, ...ca } }],
          users: [{ name, user }],
          contexts: [{ name, context }],
          'current-context': name,
        },
        2,
      )}\n`
    }
  },
}

function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new CommandError(exit.usage, `--ca: the file ${path} cannot be read`, undefined, { cause })
  }
}
