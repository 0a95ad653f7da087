import { aws } from './aws.ts'
import { azure } from './azure.ts'
import { buildkite } from './buildkite.ts'
import { circleci } from './circleci.ts'
import { githubActions } from './github-actions.ts'
import { gitlab } from './gitlab.ts'
import { google } from './google.ts'
import { kubernetes } from './kubernetes.ts'
import type { Platform, Setting } from './platform.ts'
import { spiffe } from './spiffe.ts'
import { terraform } from './terraform.ts'

/**
 * Every platform, in the order in which they are looked for: the narrower identity first. A job runs in a pod or on a machine,
 * and a pod on a machine. Documented in docs/cli.md.
 */
export const platforms: readonly Platform[] = [
  githubActions,
  gitlab,
  terraform,
  buildkite,
  circleci,
  kubernetes,
  spiffe,
  aws,
  azure,
  google,
]

/** The platform this is, and what says so; `undefined` when nothing does. Asks no network. */
export async function detect(setting: Setting): Promise<{ platform: Platform; because: string } | undefined> {
  for (const platform of platforms) {
    const because = await platform.sign(setting)
    if (because !== undefined) return { platform, because }
  }
  return undefined
}
