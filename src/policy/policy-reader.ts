import { sha256Hex } from '../base/digest.ts'
import { createPacer } from '../base/pacer.ts'
import type { ParsedFile, PlaceRequest } from './document.ts'
import { type ReadJob, type ReadResult, readAll } from './reader.ts'
import type { Place } from './yaml.ts'

/**
 * Turns the texts of policy files into documents. What came of a text is remembered from one load to the next: most files are
 * the same again, and parsing them is most of what a load costs.
 */
export interface PolicyReader {
  parse(texts: readonly string[]): Promise<readonly ParsedFile[]>
  /** Where parts of each text stand. */
  places(
    wanted: readonly { readonly text: string; readonly requests: readonly PlaceRequest[] }[],
  ): Promise<readonly (readonly Place[])[]>
  /** Ends a load: forgets whatever it did not ask for. */
  endLoad(): void
}

/** A reader that remembers nothing yet. */
export function createPolicyReader(): PolicyReader {
  // By the SHA-256 of the job: doing one is pure.
  let before: ReadonlyMap<string, ReadResult> = new Map()
  let now = new Map<string, ReadResult>()

  async function read(jobs: readonly ReadJob[]): Promise<readonly ReadResult[]> {
    const pace = createPacer()
    const ids: string[] = []
    const fresh = new Map<string, ReadJob>()
    for (const job of jobs) {
      const id = sha256Hex(JSON.stringify(job))
      const known = before.get(id)
      if (known === undefined) fresh.set(id, job)
      else now.set(id, known)
      ids.push(id)
      await pace()
    }
    // Nobody waits for a broker that has not read its policies yet; later loads leave a core to those who ask it for something.
    const results = await readAll([...fresh.values()], before.size === 0 ? 0 : 1)
    for (const [at, id] of [...fresh.keys()].entries()) {
      const result = results[at]
      if (result !== undefined) now.set(id, result)
    }
    return ids.flatMap((id) => {
      const result = now.get(id)
      return result === undefined ? [] : [result]
    })
  }

  return {
    parse: async (texts) => (await read(texts.map((text) => ({ type: 'parse', text })))) as readonly ParsedFile[],
    places: async (wanted) =>
      (await read(wanted.map((each) => ({ type: 'places', ...each })))) as readonly (readonly Place[])[],
    endLoad() {
      before = now
      now = new Map()
    },
  }
}
