/**
 * The headers of every answer. Nothing may cache it, sniff it, frame it or run anything from it; a route that serves a
 * page replaces the content security policy with one that names exactly what the page holds.
 * No CORS header is ever sent: browsers of other origins may not read the broker.
 */
export function securityHeaders(publicUrl: string): (requestId: string) => Record<string, string> {
  // RFC 6797: meant for the public name, so it follows the scheme callers use even when a proxy ends TLS.
  const https = publicUrl.startsWith('https:')
  return (requestId) => {
    const headers: Record<string, string> = {
      'x-request-id': requestId,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
    }
    if (https) headers['strict-transport-security'] = 'max-age=31536000; includeSubDomains'
    return headers
  }
}
