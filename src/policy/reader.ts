import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { BrokerFault } from '../base/errors.ts'
import { type ParsedFile, type PlaceRequest, parsePolicyText, placesInText } from './document.ts'
import { createPacer } from './pacer.ts'
import type { Place } from './yaml.ts'

/** Work on the text of one file; the same whether it runs here or in a worker thread. */
export type ReadJob =
  | { readonly type: 'parse'; readonly text: string }
  | { readonly type: 'places'; readonly text: string; readonly requests: readonly PlaceRequest[] }
export type ReadResult = ParsedFile | readonly Place[]

/** Turns text into documents without holding up the event loop. */
export interface Reader {
  parse(texts: readonly string[]): Promise<readonly ParsedFile[]>
  places(text: string, requests: readonly PlaceRequest[]): Promise<readonly Place[]>
  close(): Promise<void>
}

/** Does one job; pure. */
export function readJob(job: ReadJob): ReadResult {
  return job.type === 'parse' ? parsePolicyText(job.text) : placesInText(job.text, job.requests)
}

// Parsing YAML with positions runs at some 2.5 MB/s: below this, starting threads costs more than it saves.
const inlineCharacters = 96 * 1024
const batchFiles = 64

/** A reader for that much text: in this thread when it is little, in worker threads when it is much. */
export function createReader(characters: number): Reader {
  return characters <= inlineCharacters ? inlineReader() : workerReader(Math.min(4, availableParallelism()))
}

function inlineReader(): Reader {
  const pace = createPacer()
  return {
    async parse(texts) {
      const files: ParsedFile[] = []
      for (const text of texts) {
        files.push(parsePolicyText(text))
        await pace()
      }
      return files
    },
    places: async (text, requests) => placesInText(text, requests),
    close: async () => {},
  }
}

interface Pending {
  readonly jobs: readonly ReadJob[]
  readonly resolve: (results: readonly ReadResult[]) => void
  readonly reject: (error: Error) => void
}

function workerReader(threads: number): Reader {
  const queue: Pending[] = []
  const workers: Worker[] = []
  const idle: Worker[] = []
  const running = new Map<Worker, Pending>()
  const next = (): void => {
    while (idle.length > 0 && queue.length > 0) {
      const worker = idle.pop()
      const pending = queue.shift()
      if (worker === undefined || pending === undefined) return
      running.set(worker, pending)
      worker.postMessage(pending.jobs)
    }
  }
  const fail = (worker: Worker, cause: unknown): void => {
    running.get(worker)?.reject(new BrokerFault('internal', 'a thread that reads policies ended', { cause }))
    running.delete(worker)
  }
  // Nothing rewrites these specifiers when the project is built, so the one with this file's own extension is taken.
  const file = import.meta.url.endsWith('.ts')
    ? new URL('./reader-worker.ts', import.meta.url)
    : new URL('./reader-worker.js', import.meta.url)
  for (let i = 0; i < threads; i++) {
    const worker = new Worker(file, {
      // Syntax trees die young; with room for them, few are copied to the old generation.
      resourceLimits: { maxYoungGenerationSizeMb: 64 },
    })
    worker.on('message', (results: readonly ReadResult[]) => {
      running.get(worker)?.resolve(results)
      running.delete(worker)
      idle.push(worker)
      next()
    })
    worker.on('error', (error) => fail(worker, error))
    worker.on('exit', (code) => fail(worker, new Error(`exit code ${code}`)))
    workers.push(worker)
    idle.push(worker)
  }
  const run = (jobs: readonly ReadJob[]): Promise<readonly ReadResult[]> =>
    new Promise((resolve, reject) => {
      queue.push({ jobs, resolve, reject })
      next()
    })
  return {
    async parse(texts) {
      const batches: Promise<readonly ReadResult[]>[] = []
      for (let at = 0; at < texts.length; at += batchFiles) {
        batches.push(run(texts.slice(at, at + batchFiles).map((text) => ({ type: 'parse', text }))))
      }
      return (await Promise.all(batches)).flat() as ParsedFile[]
    },
    async places(text, requests) {
      const [places] = await run([{ type: 'places', text, requests }])
      return (places ?? []) as readonly Place[]
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()))
    },
  }
}
