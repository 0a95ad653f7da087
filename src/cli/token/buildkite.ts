import { messageOf } from '../../base/errors.ts'
import { checked, noToken } from './bearer.ts'
import type { Platform } from './platform.ts'
import { runTool } from './run-tool.ts'

const lifeSeconds = 300

/** A job of Buildkite, whose agent asks for its token (buildkite.com/docs/agent/cli/reference/oidc). */
export const buildkite: Platform = {
  name: 'buildkite',
  sign: async ({ environment }) => (environment.platform.buildkite ? 'BUILDKITE is true' : undefined),
  async token({ environment, audience }) {
    // Without being asked for, a token has names alone, which can be taken over.
    const ids = ['--claim', 'organization_id', '--claim', 'pipeline_id']
    const args = ['oidc', 'request-token', '--audience', audience, '--lifetime', String(lifeSeconds), ...ids]
    let text: string
    try {
      text = await runTool('buildkite-agent', args, environment)
    } catch (cause) {
      throw noToken(
        `Buildkite gave no identity token: ${messageOf(cause)}`,
        'run writ where the agent runs the job; in a container of its own, mount buildkite-agent and pass its variables',
        cause,
      )
    }
    return checked(text, 'the output of buildkite-agent')
  },
}
