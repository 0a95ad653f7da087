import { z } from 'zod'
import { entrySchema } from '../entry.ts'

/** The schema of entries as JSON Schema (2020-12), which can be handed to another thread. */
export const entryJsonSchema = (): unknown => z.toJSONSchema(entrySchema)
