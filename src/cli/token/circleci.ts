import { messageOf } from '../../base/errors.ts'
import { checked, noToken } from './bearer.ts'
import type { Platform } from './platform.ts'
import { runTool } from './run-tool.ts'

/**
 * A job of CircleCI, whose own tool asks for a token of any audience (circleci.com/docs/oidc-tokens-with-custom-claims).
 * `CIRCLE_OIDC_TOKEN_V2` is never read: its audience is the organisation, so clouds that trust the organisation take it, and
 * a broker that received it could go there.
 */
export const circleci: Platform = {
  name: 'circleci',
  sign: async ({ environment }) => (environment.platform.circleci ? 'CIRCLECI is true' : undefined),
  async token({ environment, audience }) {
    let text: string
    try {
      text = await runTool(
        'circleci',
        ['run', 'oidc', 'get', '--claims', JSON.stringify({ aud: audience })],
        environment,
      )
    } catch (cause) {
      throw noToken(
        `CircleCI gave no identity token: ${messageOf(cause)}`,
        'run writ in a step of the job itself, where CircleCI puts its own `circleci`',
        cause,
      )
    }
    return checked(text, 'the output of circleci')
  },
}
