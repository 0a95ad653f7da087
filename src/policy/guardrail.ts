import { z } from 'zod'
import { durationField, nameField, textField } from '../contract/fields.ts'
import { engineNames } from './credential.ts'
import { celField, namesField } from './fields.ts'

const oneOrMore = <T extends string>(values: readonly [T, ...T[]]) =>
  z.union([z.enum(values), z.array(z.enum(values)).min(1).max(values.length)])

/** An organisation-wide limit that no purpose can exceed (`kind: Guardrail`). */
export const guardrailSchema = z
  .strictObject({
    kind: z.literal('Guardrail'),
    name: nameField.describe('Unique among guardrails; refusals and ceilings name it'),
    because: textField(500).min(1).optional().describe('Why the organisation holds to it'),
    applies: z
      .strictObject({
        environment: namesField.optional().describe('Environment of the purpose'),
        sensitivity: oneOrMore(['low', 'medium', 'high']).optional().describe('Sensitivity of the credential'),
        type: oneOrMore(['service', 'agent', 'pipeline', 'vendor']).optional().describe('Type of the workload'),
        engine: oneOrMore(engineNames).optional().describe('Engine of the credential'),
        issuer: namesField.optional().describe('Issuer of the token'),
        credential: namesField.optional().describe('Name of the credential'),
        workload: namesField.optional().describe('Name of the workload'),
      })
      .default({})
      .describe('Where it applies: every key given must fit, one of a list is enough; everywhere when absent'),
    ttl: z
      .strictObject({ max: durationField.describe('Greatest life of one secret') })
      .optional()
      .describe('Greatest life of a secret'),
    approval: z.enum(['owner', 'two-person']).optional().describe('Approval needed at least'),
    deny: z
      .union([z.literal(true), celField])
      .optional()
      .describe('Refuses when this CEL is true, or cannot be decided; `true` refuses always'),
    allow_static: z
      .literal(true)
      .optional()
      .describe('Static (kv) secrets are allowed where it applies, without an Exception each'),
  })
  .meta({ title: 'Guardrail', description: 'An organisation-wide limit' })

/** A Guardrail document as the loader hands it on. */
export type GuardrailPolicy = Readonly<z.infer<typeof guardrailSchema>>
