/** What the `iss` of a Microsoft Entra tenant says. */
export interface EntraIssuer {
  /** As in the claim `ver` of its tokens. */
  readonly version: '1.0' | '2.0'
  /** The part that names the tenant: its id in lower case, or one of the words that stand for many tenants. */
  readonly tenant: string
}

// Public cloud, US Government and China (learn.microsoft.com, "National clouds").
const hosts: Readonly<Record<string, EntraIssuer['version']>> = {
  'login.microsoftonline.com': '2.0',
  'login.microsoftonline.us': '2.0',
  'login.partner.microsoftonline.cn': '2.0',
  'sts.windows.net': '1.0',
  'sts.chinacloudapi.cn': '1.0',
}

/** Reads an `iss` of Entra: `https://login.microsoftonline.com/TENANT/v2.0`, or `https://sts.windows.net/TENANT/`. */
export function readEntraIssuer(url: string): EntraIssuer | undefined {
  const [scheme, empty, host = '', tenant = '', end, ...more] = url.split('/')
  if (scheme !== 'https:' || empty !== '' || tenant === '' || more.length > 0) return undefined
  const version = Object.hasOwn(hosts, host) ? hosts[host] : undefined
  return version !== undefined && end === (version === '1.0' ? '' : 'v2.0') ? { version, tenant } : undefined
}

const id = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Whether this is the id of a tenant, an application or a principal as Entra writes it. */
export const isEntraId = (text: unknown): text is string => typeof text === 'string' && id.test(text)
