import type { Route } from './backend.ts'

/** Names that a path gives to the parts of a pattern; nothing when it does not match. */
function namesIn(pattern: string, path: string): Readonly<Record<string, string>> | undefined {
  const names: Record<string, string> = {}
  const parts = pattern.split('/')
  const segments = path.split('/')
  for (const [index, part] of parts.entries()) {
    if (part.startsWith('*')) {
      names[part.slice(1)] = segments.slice(index).join('/')
      return names
    }
    const segment = segments[index]
    if (segment === undefined) return undefined
    if (part.startsWith(':')) {
      if (segment === '') return undefined
      names[part.slice(1)] = segment
    } else if (part !== segment) return undefined
  }
  return segments.length === parts.length ? names : undefined
}

/** The first route that fits. A list asks for `role/` and for `role` alike, so both forms are tried. */
export function routeFor(
  routes: readonly Route[],
  path: string,
  isList: boolean,
): { readonly route: Route; readonly names: Readonly<Record<string, string>> } | undefined {
  const forms = isList ? [path, path.replace(/\/$/, '')] : [path, `${path}/`]
  for (const form of forms) {
    for (const route of routes) {
      const names = namesIn(route.pattern, form)
      if (names !== undefined && (!isList || route.on.list !== undefined)) return { route, names }
    }
  }
  return undefined
}
