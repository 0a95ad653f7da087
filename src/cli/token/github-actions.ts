import { messageOf } from '../../base/errors.ts'
import { type Answer, ask, textMember } from './ask.ts'
import { checked, noToken } from './bearer.ts'
import type { Platform } from './platform.ts'

/** GitHub Actions: the job asks the runner for a token of the audience it names (docs.github.com, "OpenID Connect"). */
export const githubActions: Platform = {
  name: 'github-actions',
  sign: async ({ environment }) =>
    environment.platform.githubActions === undefined ? undefined : 'ACTIONS_ID_TOKEN_REQUEST_URL is set',
  async token({ environment, audience }) {
    const { githubActions: runner } = environment.platform
    if (runner === undefined)
      throw failed('ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN are not set')
    if (!URL.canParse(runner.url)) throw failed('ACTIONS_ID_TOKEN_REQUEST_URL is not a URL')
    const url = new URL(runner.url)
    url.searchParams.set('audience', audience)
    const headers = { authorization: `Bearer ${runner.token.reveal()}`, accept: 'application/json' }
    let answer: Answer
    try {
      answer = await ask(url, { headers })
    } catch (cause) {
      throw failed(messageOf(cause), cause)
    }
    if (answer.status !== 200) throw failed(`it answered ${answer.status}`)
    const value = textMember(answer, 'value')
    if (value === undefined) throw failed('its answer holds none')
    return checked(value, 'the answer of GitHub Actions')
  },
}

const failed = (why: string, cause?: unknown): Error =>
  noToken(
    `GitHub Actions gave no identity token: ${why}`,
    'check that the job has "permissions: id-token: write"',
    cause,
  )
