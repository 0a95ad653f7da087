import { z } from 'zod'
import type { Code } from '../base/codes.ts'
import { codes } from '../base/codes.ts'
import { deliveryField } from '../contract/credential.ts'
import { durationField, nameField, textField } from '../contract/fields.ts'
import { dateField } from './fields.ts'

const expectation = z.strictObject({
  effect: z.enum(['allow', 'deny', 'needs_approval']),
  code: z
    .enum(Object.keys(codes) as [Code, ...Code[]])
    .optional()
    .describe('Of a refusal'),
  workload: nameField.optional().describe('The workload the token must be taken for'),
  ttl: durationField.optional().describe('The life that must be granted'),
  capped_by: z.array(z.string().max(200)).max(16).optional().describe('The ceilings that must be named, in order'),
  level: z.enum(['owner', 'two-person']).optional().describe('Of the approval that is needed'),
  approvers: z.array(nameField).max(20).optional().describe('Teams that may approve'),
})

const testCase = z.strictObject({
  name: textField(200).min(1).describe('What the case shows'),
  issuer: nameField.describe('Issuer document that signed the token'),
  claims: z.record(z.string().min(1).max(200), z.unknown()).describe('Claims of the token'),
  environment: nameField.nullable().optional().describe('Environment of the token; by its Issuer when absent'),
  request: z.strictObject({
    purpose: nameField,
    credential: nameField.optional(),
    ttl: durationField.optional(),
    task: z
      .union([z.literal(true), durationField])
      .optional()
      .describe('A task is open, for at least an hour or this long'),
    reason: textField(500).optional(),
    delivery: deliveryField.optional(),
    params: z.record(z.string().max(64), z.string().max(16_384)).optional(),
    ip: z.string().max(64).optional(),
  }),
  active: z.int().min(0).optional().describe('Live credentials of the purpose; 0 when absent'),
  last_minute: z.int().min(0).optional().describe('Credentials issued within the last minute; 0 when absent'),
  now: dateField.optional().describe('When the request is made'),
  expect: expectation,
})

/** A file of `policies/tests`: tokens and requests with the decision each must get. */
export const testSchema = z
  .strictObject({
    kind: z.literal('Test'),
    now: dateField.describe('When the requests are made, unless a case says otherwise'),
    cases: z.array(testCase).min(1).max(1000),
  })
  .meta({ title: 'Test', description: 'Decisions that the policies must make' })

/** One case of a test file. */
export type TestCase = z.infer<typeof testCase>
/** A parsed test file document. */
export type TestFile = z.infer<typeof testSchema>
