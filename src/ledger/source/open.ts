import { cutTile, type TileId } from '../log/tile.ts'
import { createFolderSource } from './tile-folder.ts'
import type { TileSource } from './tile-source.ts'

/** Where a log is: a folder, or a URL from `logUrl`. */
export type LogPlace = { readonly dir: string } | { readonly url: URL }

export interface SourceOptions {
  /** Folders with entry bundles that the log has not. */
  readonly archives?: readonly string[] | undefined
  /** Token for a log that is not for everybody; it is sent to the host of the URL and to no other. */
  readonly token?: (() => Promise<string>) | undefined
  /** Ends what is under way. */
  readonly signal?: AbortSignal | undefined
}

/** The files of the log in that place. */
export async function openSource(place: LogPlace, options: SourceOptions = {}): Promise<TileSource> {
  const log = await openPlace(place, options)
  const archives = (options.archives ?? []).map(createFolderSource)
  if (archives.length === 0) return log
  return {
    ...log,
    // The bytes of a bundle last until that source is asked again.
    atOnce: 1,
    async tile(id) {
      for (const source of id.level === 'entries' ? [log, ...archives] : [log]) {
        const found = await source.tile(id)
        if (found !== undefined) return found
      }
      return undefined
    },
  }
}

async function openPlace(place: LogPlace, { token, signal }: SourceOptions): Promise<TileSource> {
  if ('dir' in place) return createFolderSource(place.dir)
  // Only now: what it takes to speak HTTP is half the memory of a process that reads a folder.
  const { createUrlSource } = await import('./tile-url.ts')
  return createUrlSource({ url: place.url, ...(token && { token }), ...(signal && { signal }) })
}

/** The tile in exactly that width. @throws SourceError; BundleError for one that cannot be cut */
export async function exactTile(source: TileSource, id: TileId): Promise<Buffer | undefined> {
  const found = await source.tile(id)
  return found && cutTile(found.bytes, { ...id, width: found.width }, id.width)
}
