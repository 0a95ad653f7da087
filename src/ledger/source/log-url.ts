import { SourceError } from './tile-source.ts'

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/**
 * Reads the URL that the paths of a log stand below: https, or http to this machine.
 * @throws SourceError
 */
export function logUrl(text: string): URL {
  if (!URL.canParse(text)) throw new SourceError('it is not a URL')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') throw new SourceError('a URL with a password is not taken')
  if (url.search !== '' || url.hash !== '') throw new SourceError('the URL of a log has no query and no fragment')
  if (!mayFetch(url)) throw new SourceError('the URL of a log is https; http is taken to this machine only')
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

const mayFetch = (url: URL): boolean =>
  url.protocol === 'https:' || (url.protocol === 'http:' && loopback.test(url.hostname))
