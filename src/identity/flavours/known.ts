import type { IssuerPolicy } from '../../policy/issuer.ts'
import { buildkite } from './buildkite.ts'
import { circleci } from './circleci.ts'
import type { Flavour } from './flavour.ts'
import { generic } from './generic.ts'
import { githubActions } from './github-actions.ts'
import { gitlab } from './gitlab.ts'
import { kubernetes } from './kubernetes.ts'
import { terraform } from './terraform.ts'

const known: Partial<Record<IssuerPolicy['flavour'], Flavour>> = {
  generic,
  kubernetes,
  'github-actions': githubActions,
  gitlab,
  terraform,
  buildkite,
  circleci,
}

/** The rules of a flavour; `undefined` while this version does not enforce them, and then no token of it may pass. */
export const flavourOf = (name: IssuerPolicy['flavour']): Flavour | undefined => known[name]
