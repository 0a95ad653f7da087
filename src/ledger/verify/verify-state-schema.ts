import { z } from 'zod'
import { hashBytes, tileWidth } from '../log/tile.ts'
import { mostGrants, mostPolicies } from './meaning.ts'
import { mostRanges } from './ranges.ts'
import { mostLevels } from './tree-levels.ts'

/** A live grant. */
const grantSchema = z.strictObject({
  state: z.enum(['minting', 'active', 'ending']),
  issuedMs: z.number().optional(),
  /** Smallest of the ceilings of the intent, and of those that bound the whole life, counted from issuance. */
  ownSeconds: z.number().optional(),
  lifeSeconds: z.number().optional(),
})
export type LiveGrant = z.infer<typeof grantSchema>

const meaningSchema = z.strictObject({
  lastMs: z.number(),
  skipped: z.boolean(),
  policies: z.array(z.string().max(64)).max(mostPolicies),
  grants: z.array(z.tuple([z.string().max(200), grantSchema])).max(mostGrants),
})
/** What the meaning of later entries rests on. */
export type MeaningState = z.infer<typeof meaningSchema>

/** What is being verified. Only another verification of just the same may go on from its state. */
const targetSchema = z.strictObject({
  /** The folder, as an absolute path, or the URL. */
  place: z.string(),
  vkeys: z.array(z.string()).readonly(),
  form: z.enum(['writ', 'any']),
})
export type VerifyTarget = z.infer<typeof targetSchema>

const rangesSchema = z
  .array(z.tuple([z.int().nonnegative(), z.int().nonnegative()]).readonly())
  .max(mostRanges)
  .readonly()

/** A row of up to 255 hashes, in base64. */
const rowSchema = z
  .base64()
  .max(12_000)
  .transform((text): Buffer => Buffer.from(text, 'base64'))
  .refine(({ length }) => length % hashBytes === 0 && length < tileWidth * hashBytes)

const progressSchema = z.strictObject({
  /** The hashes of each level since its last full tile. A state is one between full bundles, so there are none of leaves. */
  levels: z
    .array(rowSchema)
    .max(mostLevels)
    .refine(([leaves]) => leaves === undefined || leaves.length === 0)
    .readonly(),
  meaning: meaningSchema,
  /** Entries whose bundles the log says are elsewhere. */
  archived: rangesSchema,
  /** Keys that were learnt, for `Trust` to judge anew. */
  learnt: z
    .array(z.strictObject({ newKey: z.string(), statement: z.string() }))
    .max(1_000)
    .readonly(),
  /** Entries whose bundles were not there. */
  absent: rangesSchema,
})
/** How far a verification came while nothing was wrong, with everything that entries so far mean for those to come. */
export type VerifyProgress = z.infer<typeof progressSchema>

/** The file in which an interrupted verification leaves how far it came. */
export const stateSchema = z.strictObject({
  kind: z.literal('writ ledger verify, state 1'),
  target: targetSchema,
  progress: progressSchema,
})
