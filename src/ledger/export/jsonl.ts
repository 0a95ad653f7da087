import type { Format } from './format.ts'

/**
 * One line an entry: `{"index":…,"leaf_hash":"…","entry":…}`, where the entry is the very text that was recorded, so that SHA-256 over
 * a zero byte and that text is the leaf hash.
 */
export function jsonlFormat(): Format {
  return {
    begin: () => '',
    add: ({ index, leafHash, text }) => `{"index":${index},"leaf_hash":"${leafHash}","entry":${text}}\n`,
    end: () => '',
  }
}
