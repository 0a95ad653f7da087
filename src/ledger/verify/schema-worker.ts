import { parentPort } from 'node:worker_threads'
import { entryJsonSchema } from './entry-json-schema.ts'

// Gives the schema of entries and ends, and with it goes all that it took to make it.
parentPort?.postMessage(entryJsonSchema())
