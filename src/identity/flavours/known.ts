import type { IssuerPolicy } from '../../policy/issuer.ts'
import { aws } from './aws.ts'
import { azure } from './azure.ts'
import { buildkite } from './buildkite.ts'
import { circleci } from './circleci.ts'
import type { Flavour } from './flavour.ts'
import { generic } from './generic.ts'
import { githubActions } from './github-actions.ts'
import { gitlab } from './gitlab.ts'
import { google } from './google.ts'
import { kubernetes } from './kubernetes.ts'
import { spiffe } from './spiffe.ts'
import { terraform } from './terraform.ts'

/** The rules of each flavour: an Issuer document cannot name one that is not held to its rules. */
export const flavours: Readonly<Record<IssuerPolicy['flavour'], Flavour>> = {
  generic,
  kubernetes,
  'github-actions': githubActions,
  gitlab,
  terraform,
  buildkite,
  circleci,
  spiffe,
  google,
  azure,
  aws,
}
