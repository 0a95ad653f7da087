import { z } from 'zod'
import { credentialSchema } from './credential.ts'
import { exceptionSchema } from './exception.ts'
import { guardrailSchema } from './guardrail.ts'
import { issuerSchema } from './issuer.ts'
import { teamSchema } from './team.ts'
import { testSchema } from './testcase.ts'
import { workloadSchema } from './workload.ts'

/** The strict schema of each kind of policy document, by the text of its `kind`. */
export const kindSchemas = {
  Issuer: issuerSchema,
  Team: teamSchema,
  Credential: credentialSchema,
  Workload: workloadSchema,
  Exception: exceptionSchema,
  Guardrail: guardrailSchema,
} as const

export type Kind = keyof typeof kindSchemas
/** A parsed policy document of any kind. */
export type PolicyDocument = z.infer<(typeof kindSchemas)[Kind]>

/** A JSON Schema (draft 2020-12) as plain data. */
export type JsonSchema = { readonly [key: string]: unknown }

const toJson = (schema: z.ZodType, id: string): JsonSchema => ({
  ...z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }),
  $id: id,
})

let cached: ReadonlyMap<string, JsonSchema> | undefined

/** File name to JSON Schema: one for each kind, `policy.json` for any of them, `test.json` for test files. */
export function schemas(): ReadonlyMap<string, JsonSchema> {
  if (cached !== undefined) return cached
  const files = new Map<string, JsonSchema>()
  for (const [kind, schema] of Object.entries(kindSchemas)) {
    files.set(`${kind.toLowerCase()}.json`, toJson(schema, `${kind.toLowerCase()}.json`))
  }
  files.set('policy.json', {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'policy.json',
    title: 'Policy',
    description: 'Any document of the policy folder',
    oneOf: Object.keys(kindSchemas).map((kind) => ({ $ref: `${kind.toLowerCase()}.json` })),
  })
  files.set('test.json', toJson(testSchema, 'test.json'))
  cached = files
  return files
}
