import { z } from 'zod'
import { durationField, nameField, textField } from '../contract/fields.ts'
import { personField } from './fields.ts'

/** An accountable group of people (`kind: Team`). A retired team orphans the workloads it owns. */
export const teamSchema = z
  .strictObject({
    kind: z.literal('Team'),
    name: nameField.describe('Name that workloads use as owner, backup or custodian'),
    status: z
      .enum(['active', 'leaving', 'retired'])
      .default('active')
      .describe('leaving: the backup of its workloads answers; retired: its workloads get nothing'),
    contact: z
      .strictObject({
        email: z
          .string()
          .max(320)
          .regex(/^[^\s@]+@[^\s@]+$/, 'an e-mail address')
          .optional()
          .describe('Where notices go'),
        webhook: z
          .string()
          .max(2048)
          .regex(/^https?:\/\/\S+$/, 'an http(s) URL')
          .optional()
          .describe('Called with notices'),
        chat: textField(200).min(1).optional().describe('Channel a person looks in'),
      })
      .describe('How to reach the team'),
    members: z
      .array(
        z.strictObject({
          issuer: nameField.describe('Issuer that signs the tokens of this person'),
          subject: personField.describe('The `sub` of this person, exactly'),
        }),
      )
      .max(1000)
      .default([])
      .describe('People who may approve, review and revoke for this team'),
    leavers: z
      .strictObject({
        grace: durationField
          .default('7d')
          .describe('How long its workloads go on when nobody is left to answer for them'),
      })
      .prefault({})
      .describe('What happens when a signal says that members have left'),
    roles: z
      .array(z.enum(['auditor', 'operator']))
      .max(2)
      .default([])
      .describe('auditor reads the whole record; operator runs the broker and holds the kill switch'),
  })
  .meta({ title: 'Team', description: 'An accountable group with a contact' })

/** A Team document as the loader hands it on. */
export type TeamPolicy = Readonly<z.infer<typeof teamSchema>>
