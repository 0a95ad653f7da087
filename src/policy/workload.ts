import { z } from 'zod'
import { durationField, nameField, textField } from '../contract/fields.ts'
import { celField, dateField, personField } from './fields.ts'

/** What a claim must be: exact text (or one `*` a segment), an exact number or boolean, or claims within it. */
export type ClaimPattern = string | number | boolean | { readonly [claim: string]: ClaimPattern }

const claimName = z
  .string()
  .min(1)
  .max(200)
  .refine((name) => name !== '__proto__', 'a claim name')

const claimPattern: z.ZodType<ClaimPattern, ClaimPattern> = z.lazy(() =>
  z.union([textField(1024).min(1), z.number(), z.boolean(), z.record(claimName, claimPattern)]),
)

/** How the work of a purpose is cut into tasks. What is left out is not asked for. */
const taskRule = z.strictObject({
  required: z.boolean().default(false).describe('A request without a task is refused'),
  derive: z
    .boolean()
    .default(false)
    .describe(
      'The pod or job that the token names is the task where the request names none; pipelines have it so anyway',
    ),
  heartbeat: durationField
    .optional()
    .describe('Ends a task whose holder has not said within this time that it is at work'),
  max: durationField.optional().describe('Greatest life of a task; 24h when absent'),
  grants: z.int().min(1).max(1_000_000).optional().describe('Credentials a task may take in all'),
  active: z.int().min(1).max(1_000_000).optional().describe('Credentials of a task alive at once'),
})

const purpose = z.strictObject({
  id: nameField.describe('Name that callers ask for; unique within the workload'),
  because: textField(500).min(1).describe('The business reason, in words an auditor understands'),
  environment: nameField.describe('Must equal the environment of the token and of each credential'),
  credentials: z.array(nameField).min(1).max(50).describe('Credential documents this purpose covers'),
  ttl: z
    .strictObject({
      default: durationField.optional().describe('Life when the caller does not ask; `max` when absent'),
      max: durationField.describe('Greatest life of one secret'),
    })
    .describe('How long one secret lives'),
  when: celField
    .optional()
    .describe('CEL over claims, issuer, workload, purpose, credential, request and now; must be true'),
  approval: z
    .enum(['none', 'owner', 'two-person'])
    .default('none')
    .describe('owner: a member of the owner team says yes; two-person: two different people do'),
  limits: z
    .strictObject({
      active: z.int().min(1).max(1_000_000).optional().describe('Credentials alive at once'),
      per_minute: z.int().min(1).max(1_000_000).optional().describe('Credentials issued within 60 seconds'),
    })
    .default({})
    .describe('How many credentials this purpose may hold'),
  task: taskRule.optional().describe('How the work is cut into tasks, whose credentials end with them'),
  renewable: z.boolean().default(false).describe('Whether a live credential may be extended'),
  review: z
    .strictObject({
      every: durationField.describe('How long an attestation lasts'),
      last: dateField.describe('When the owner last attested the purpose'),
      by: personField.describe('Who attested it'),
    })
    .optional()
    .describe('Overdue: the greatest life halves; overdue by as long again: refused'),
  delegation: z
    .strictObject({
      depth: z.int().min(1).max(10).describe('How many hands a task may pass through'),
      fan_out: z.int().min(1).max(1000).describe('How many sub-tasks one task may have open'),
      budget: z.int().min(1).max(100_000).describe('How many credentials the whole tree of tasks may take'),
    })
    .optional()
    .describe('How far an agent may pass the purpose on'),
  until: dateField.optional().describe('Last day (UTC) of the purpose, or the instant it ends'),
})

/** A declared non-human identity, who answers for it, and why it may hold credentials (`kind: Workload`). */
export const workloadSchema = z
  .strictObject({
    kind: z.literal('Workload'),
    name: nameField.describe('Unique among workloads'),
    type: z.enum(['service', 'agent', 'pipeline', 'vendor']).describe('What kind of non-human it is'),
    system: nameField.describe('The system it is part of'),
    owner: nameField.describe('Team that answers for it'),
    backup: nameField.describe('Team that answers when the owner cannot; never the owner'),
    custodian: nameField.describe('Team that runs it'),
    status: z.enum(['proposed', 'active', 'suspended', 'retired']).describe('Only an active workload gets credentials'),
    signoff: z
      .strictObject({ by: personField.describe('Who signed it off'), on: dateField.describe('When') })
      .optional()
      .describe('Without it no production purpose'),
    match: z
      .strictObject({
        issuer: nameField.describe('Issuer document whose tokens it presents'),
        claims: z
          .record(claimName, claimPattern)
          .describe('Claims the token must carry: exact, or `*` for part of one segment between `/` and `:`'),
      })
      .describe('Which tokens are this workload'),
    purposes: z.array(purpose).min(1).max(100).describe('Why it may hold credentials'),
  })
  .meta({ title: 'Workload', description: 'A declared non-human identity and its purposes' })

/** A Workload document as the loader hands it on. */
export type WorkloadPolicy = Readonly<z.infer<typeof workloadSchema>>
/** One purpose of a Workload document. */
export type PurposePolicy = WorkloadPolicy['purposes'][number]
