import type { IssuedCredential } from '../../contract/credential.ts'
import { type Format, oneOf, unfit } from './format.ts'

/** The certificate, its chain and then its key, as OpenSSL and most servers read them from one file. @see RFC 7468 */
export const pem: Format = {
  name: 'pem',
  takes: [],
  // A key that never left the caller is not in the secret.
  prepare: () => (issued) =>
    certificates(issued, 'pem') + ('private_key' in issued.secret ? privateKey(issued, 'pem') : ''),
}

/** The certificate and those that lead from it towards a root. */
export function certificates(issued: IssuedCredential, format: string): string {
  const { ca_chain: chain, issuing_ca: issuer } = issued.secret
  const above = Array.isArray(chain) && chain.length > 0 ? chain : issuer === undefined ? [] : [issuer]
  const texts = [oneOf(issued, format, 'certificate'), ...above]
  return texts
    .map(
      (text, at) =>
        blocks(text, /^CERTIFICATE$/) ?? refuse(format, at === 0 ? 'certificate' : 'ca_chain', 'CERTIFICATE'),
    )
    .join('')
}

export function privateKey(issued: IssuedCredential, format: string): string {
  const text = oneOf(issued, format, 'private_key')
  return blocks(text, /^(?:RSA |EC )?PRIVATE KEY$/) ?? refuse(format, 'private_key', 'PRIVATE KEY')
}

function refuse(format: string, field: string, label: string): never {
  throw unfit(format, field, `is no PEM ${label}`)
}

/** The text with a newline at its end, where it is nothing but whole blocks of that label. */
function blocks(text: unknown, label: RegExp): string | undefined {
  if (typeof text !== 'string') return undefined
  let [open, seen] = [undefined as string | undefined, 0]
  const lines = text.trim().split(/\r?\n/)
  for (const line of lines) {
    const [, edge, name = ''] = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----$/.exec(line) ?? []
    if (edge === 'BEGIN' && open === undefined && label.test(name)) open = name
    else if (edge === 'END' && open === name) [open, seen] = [undefined, seen + 1]
    else if (open === undefined || !/^[A-Za-z0-9+/=]+$/.test(line)) return undefined
  }
  return open === undefined && seen > 0 ? `${lines.join('\n')}\n` : undefined
}
