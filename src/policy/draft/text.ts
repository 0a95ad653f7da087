import { Document, isScalar, visit } from 'yaml'
import type { Draft } from './draft.ts'

/** What to write where the draft could not know, by the name of the field. */
const hints: Readonly<Record<string, string>> = {
  name: 'a name for it, unique among workloads',
  system: 'the system it is part of',
  owner: 'the team that answers for it',
  backup: 'the team that answers when the owner cannot',
  custodian: 'the team that runs it',
  id: 'the name that callers ask for',
  jwks_url: 'where its keys are: the trust bundle of the trust domain',
  because: 'the business reason, in words an auditor understands',
  environment: 'that of the credentials',
  credentials: 'a list of Credential documents',
}

/** The documents as YAML. What is missing has no value, so that the loader refuses it, and a comment that says what belongs there. */
export function draftText({ documents }: Draft): string {
  return documents
    .map((content) => {
      const document = new Document(content)
      visit(document, {
        Pair(_, pair) {
          if (!isScalar(pair.value) || pair.value.value !== null || !isScalar(pair.key)) return
          pair.value.comment = ` TODO: ${hints[String(pair.key.value)] ?? 'fill in'}`
        },
      })
      return document.toString({ nullStr: '', lineWidth: 0 })
    })
    .join('---\n')
}
