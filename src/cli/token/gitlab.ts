import { checked, noToken } from './bearer.ts'
import type { Platform } from './platform.ts'

/** GitLab CI: the job names the variable and the audience of its token (docs.gitlab.com, "`id_tokens`"). */
export const gitlab: Platform = {
  name: 'gitlab',
  sign: async ({ environment }) => (environment.platform.gitlab === undefined ? undefined : 'GITLAB_CI is set'),
  async token({ environment, audience }) {
    const token = environment.platform.gitlab?.token
    if (token !== undefined) return checked(token.reveal(), 'WRIT_ID_TOKEN')
    throw noToken(
      'GitLab CI gave no identity token: WRIT_ID_TOKEN is not set',
      `add to the job in .gitlab-ci.yml: id_tokens: { WRIT_ID_TOKEN: { aud: ${JSON.stringify(audience)} } }`,
    )
  },
}
