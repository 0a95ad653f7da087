/**
 * The geometry of C2SP tlog-tiles: where each hash and each entry of a log stands, and what the files hold. Pure; the bytes come
 * from a folder, a URL or a running broker.
 * @see https://c2sp.org/tlog-tiles
 */

/** Hashes, or entries, of a full tile. */
export const tileWidth = 256
/** Bytes of one hash. */
export const hashBytes = 32
/** Levels a tile may have; a tree of 2^53 entries needs seven. */
const maxLevel = 63

/** One tile: 1 to 256 hashes of a level, or as many entries. Below 256 it is partial. */
export interface TileId {
  /** 0 holds leaf hashes, each further level the roots of full tiles of the one below; `entries` holds the entries. */
  readonly level: number | 'entries'
  /** Place among the tiles of its level, from 0. */
  readonly n: number
  /** Hashes or entries it holds, 1 to 256. */
  readonly width: number
}

/** Path of a tile below the prefix of the log: `tile/<L>/<N>[.p/<W>]`, where 1234067 is written `x001/x234/067`. */
export function tilePath({ level, n, width }: TileId): string {
  const digits = String(n).padStart(Math.ceil(String(n).length / 3) * 3, '0')
  const elements = digits.match(/\d{3}/g) ?? []
  const place = elements.map((element, i) => (i < elements.length - 1 ? `x${element}` : element)).join('/')
  return `tile/${level}/${place}${width === tileWidth ? '' : `.p/${width}`}`
}

/** The tile a path names, or `undefined` when it names none. Strict: only what `tilePath` writes is read. */
export function parseTilePath(path: string): TileId | undefined {
  const [, levelText = '', place = '', widthText] =
    /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/.exec(path) ?? []
  if (place === '') return undefined
  const level = levelText === 'entries' ? levelText : Number(levelText)
  const n = Number(place.replaceAll(/[x/]/g, ''))
  const width = widthText === undefined ? tileWidth : Number(widthText)
  const id: TileId = { level, n, width }
  if ((level !== 'entries' && level > maxLevel) || !Number.isSafeInteger(n) || width > tileWidth) return undefined
  return tilePath(id) === path ? id : undefined
}

/** Hashes that a level has in a log of `size` entries, each over 256 times as many entries as one of the level below. */
export const hashesAtLevel = (size: number, level: number): number => Math.floor(size / tileWidth ** level)

/** Hashes, or entries, that tile `n` of a level has in a log of `size` entries; 0 when there is no such tile. */
export function widthAt(size: number, level: number | 'entries', n: number): number {
  const hashes = level === 'entries' ? size : hashesAtLevel(size, level)
  return Math.min(tileWidth, Math.max(0, hashes - n * tileWidth))
}

/** Every tile that a log of `size` entries has and one of `from` entries had not; the partial ones last on each level. */
export function* tilesBetween(from: number, size: number): Generator<TileId> {
  for (const id of tilesOfLevel(from, size, 'entries')) yield id
  for (let level = 0; hashesAtLevel(size, level) > 0; level++) yield* tilesOfLevel(from, size, level)
}

function* tilesOfLevel(from: number, size: number, level: number | 'entries'): Generator<TileId> {
  const depth = level === 'entries' ? 0 : level
  const [before, after] = [hashesAtLevel(from, depth), hashesAtLevel(size, depth)]
  if (before === after) return
  for (let n = Math.floor(before / tileWidth); n * tileWidth < after; n++) {
    yield { level, n, width: widthAt(size, level, n) }
  }
}

/** A bundle that is not `width` entries, each behind its length in 16 bits. */
export class BundleError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'BundleError'
  }
}

/**
 * The entries of an entry bundle, as views of its bytes. Attacker-controlled input: exactly `width` entries must fill it.
 * @throws BundleError
 */
export function parseBundle(bytes: Buffer, width: number): readonly Buffer[] {
  const spans = bundleSpans(bytes, width)
  return Array.from({ length: width }, (_, i) => bytes.subarray(spans[2 * i], spans[2 * i + 1]))
}

/** Where each entry of a bundle starts and ends in its bytes: as `parseBundle`, without a view of each. */
export function bundleSpans(bytes: Buffer, width: number): Uint32Array<ArrayBuffer> {
  const spans = new Uint32Array(2 * width)
  let at = 0
  for (let i = 0; i < width; i++) {
    if (at + 2 > bytes.length) throw new BundleError(`the bundle ends after ${i} of ${width} entries`)
    const end = at + 2 + bytes.readUInt16BE(at)
    if (end > bytes.length) throw new BundleError(`the bundle ends within entry ${i} of ${width}`)
    spans[2 * i] = at + 2
    spans[2 * i + 1] = end
    at = end
  }
  if (at !== bytes.length) throw new BundleError(`${bytes.length - at} bytes follow the last entry of the bundle`)
  return spans
}

/**
 * The first `width` hashes or entries of a tile.
 * @throws BundleError when the bundle holds fewer
 */
export function cutTile(bytes: Buffer, { level, width: has }: TileId, width: number): Buffer {
  if (level !== 'entries') return bytes.subarray(0, width * hashBytes)
  if (width === has) return bytes
  let end = 0
  for (let i = 0; i < width; i++) {
    if (end + 2 > bytes.length) throw new BundleError(`the bundle ends after ${i} of ${width} entries`)
    end += 2 + bytes.readUInt16BE(end)
  }
  return bytes.subarray(0, end)
}

/** Greatest size of an entry: its length is written in 16 bits. */
export const maxEntryBytes = 65_535

/** Most bytes of an entry bundle. */
export const maxBundleBytes: number = tileWidth * (2 + maxEntryBytes)
