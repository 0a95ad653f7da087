import { once } from 'node:events'
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { Worker, type WorkerOptions } from 'node:worker_threads'
import { BrokerFault } from '../../base/errors.ts'
import type { EntryBatch, EntryCheck, Said } from './entry-check.ts'
import type { Problem } from './problem.ts'
import type { StoryState } from './story.ts'
import type { LearntKey } from './trust.ts'
import type { MeaningState } from './verify-state-schema.ts'

/** What the thread is started with. */
export interface EntryThreadData {
  /** JSON Schema of an entry. */
  readonly schema: unknown
  readonly vkeys: readonly string[]
  readonly learnt: readonly LearntKey[]
  readonly story: StoryState | undefined
}
export type EntryRequest =
  | 'said'
  | 'meaning'
  | 'skip'
  | (Omit<EntryBatch, 'bytes'> & { readonly shared: SharedArrayBuffer; readonly length: number })

/** Memory for the bytes of an ordinary bundle. */
const slotBytes = 256 * 1024

/**
 * Checks entries of writ in another thread. Parsing takes about as long as reading and hashing, which is left to this one, so that two
 * processors are busy; a third thread would cost as much memory as both.
 */
export async function startEntryThread(data: Omit<EntryThreadData, 'schema'>): Promise<EntryCheck> {
  const workerData: EntryThreadData = { ...data, schema: await fetchSchema() }
  const worker = new Worker(entryWorker, { ...threadOptions(), workerData })
  const waiting: PromiseWithResolvers<unknown>[] = []
  const slots: SharedArrayBuffer[] = []
  let broken: BrokerFault | undefined
  const fail = (cause: unknown): void => {
    broken ??= new BrokerFault('internal', 'the thread that checks entries ended', { cause })
    for (const { reject } of waiting.splice(0)) reject(broken)
  }
  worker.on('message', (answer) => waiting.shift()?.resolve(answer))
  worker.on('error', fail)
  worker.on('exit', (code) => fail(new Error(`exit code ${code}`)))

  /** Both ends are ours, so the answer is of the kind that was asked for. */
  function ask<Answer>(request: EntryRequest): Promise<Answer> {
    if (broken !== undefined) return Promise.reject(broken)
    const asked = Promise.withResolvers<unknown>()
    waiting.push(asked)
    worker.postMessage(request)
    return asked.promise as Promise<Answer>
  }

  return {
    async next({ bytes, ...batch }) {
      // What is parsed must be what was hashed, so it is read once and then seen by both threads.
      const ordinary = bytes.length <= slotBytes
      const shared = (ordinary ? slots.pop() : undefined) ?? new SharedArrayBuffer(Math.max(slotBytes, bytes.length))
      bytes.copy(Buffer.from(shared))
      const problems = await ask<readonly Problem[]>({ ...batch, shared, length: bytes.length })
      if (ordinary) slots.push(shared)
      return problems
    },
    // When the thread has ended, whatever is asked next says so.
    skip: () => void ask('skip').catch(() => {}),
    said: () => ask<Said>('said'),
    meaning: () => ask<MeaningState>('meaning'),
    close: async () => void (await worker.terminate()),
  }
}

// Nothing rewrites these specifiers when the project is built, so those with this file's own extension are taken.
const built = !import.meta.url.endsWith('.ts')
const schemaWorker = built
  ? new URL('../schema-worker.js', import.meta.url)
  : new URL('./schema-worker.ts', import.meta.url)
const entryWorker = built
  ? new URL('../entry-worker.js', import.meta.url)
  : new URL('./entry-worker.ts', import.meta.url)

/** The schema of entries, from a thread that is gone afterwards, with the library that it takes. */
async function fetchSchema(): Promise<unknown> {
  const worker = new Worker(schemaWorker, threadOptions())
  const [schema] = await once(worker, 'message')
  await worker.terminate()
  return schema
}

function threadOptions(): WorkerOptions {
  const cache = getCompileCacheDir()
  return {
    // Almost everything dies young here, and a small nursery keeps the whole process small.
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 1024 },
    // All they need of the environment is where compiled code is kept.
    env: cache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cache) },
  }
}
