import { z } from 'zod'
import { durationField, nameField, textField } from '../contract/fields.ts'
import { dateField, personField } from './fields.ts'

/** A time-boxed deviation for one purpose of one workload (`kind: Exception`). */
export const exceptionSchema = z
  .strictObject({
    kind: z.literal('Exception'),
    name: nameField.describe('Unique among exceptions'),
    relaxes: z
      .enum(['static_credential', 'shared_credential', 'ttl', 'review', 'approval', 'environment'])
      .describe('The one rule that does not bind: see policies/README.md'),
    workload: nameField.describe('The workload it is for'),
    purpose: nameField.describe('The purpose of that workload'),
    ttl: z
      .strictObject({ max: durationField.describe('Greatest life of one secret') })
      .optional()
      .describe('With `relaxes: ttl`: the ceiling that stands in for those of guardrails'),
    reason: textField(1000).min(1).describe('Why the rule cannot be kept now'),
    compensating: textField(1000).min(1).describe('What limits the harm meanwhile'),
    requested_by: personField.describe('Who asked'),
    approved_by: personField.describe('Who agreed; never who asked'),
    until: dateField.describe('Last day (UTC) of the exception, or the instant it ends'),
  })
  .meta({ title: 'Exception', description: 'A time-boxed deviation with a compensating control' })

/** An Exception document as the loader hands it on. */
export type ExceptionPolicy = Readonly<z.infer<typeof exceptionSchema>>
