import type { IssuerPolicy } from '../issuer.ts'
import { aws } from './aws.ts'
import { azure } from './azure.ts'
import { buildkite } from './buildkite.ts'
import { circleci } from './circleci.ts'
import { generic } from './generic.ts'
import { github } from './github.ts'
import { gitlab } from './gitlab.ts'
import { google } from './google.ts'
import { kubernetes } from './kubernetes.ts'
import type { Platform } from './platform.ts'
import { spiffe } from './spiffe.ts'
import { terraform } from './terraform.ts'

/** What is known of each platform, by flavour: a new one is a file and a line here. */
export const platforms: Readonly<Partial<Record<IssuerPolicy['flavour'], Platform>>> = {
  generic,
  kubernetes,
  'github-actions': github,
  gitlab,
  terraform,
  buildkite,
  circleci,
  spiffe,
  google,
  azure,
  aws,
}
