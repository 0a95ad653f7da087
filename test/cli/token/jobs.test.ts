import { describe, expect, it } from 'vitest'
import { audience, chosen, failureOf, jwt, platformServers, scratch, source } from './setting.ts'

const serve = platformServers()
const { file, path } = scratch()

describe('GitHub Actions', () => {
  const envOf = (url: string) => ({
    ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/token?api-version=2`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'runner-secret',
  })

  it('is asked for a token of this audience, anew each time', async () => {
    let count = 0
    const { url, asked } = await serve(() => [200, `{"value":"job.token.${++count}"}`])
    const read = source(envOf(url))
    expect([await read(), await read()]).toEqual(['job.token.1', 'job.token.2'])
    expect(asked[0]?.url.search).toBe('?api-version=2&audience=https%3A%2F%2Fwrit.example.com')
    expect(asked[0]?.headers.authorization).toBe('Bearer runner-secret')
  })

  it.each([
    [403, '{}'],
    [200, '{"count":1}'],
    [200, 'not json'],
    [302, ''],
    [200, `{"value":"${'a'.repeat(70_000)}"}`],
  ])('failing with %i exits 4 with what to grant, and follows no redirect', async (status, body) => {
    const { url, asked } = await serve(() => [status, body])
    const error = await failureOf(source(envOf(url)))
    expect(error).toMatchObject({ exitStatus: 4, fix: expect.stringContaining('id-token: write') })
    expect(error.message).not.toContain('runner-secret')
    expect(asked).toHaveLength(1)
  })
})

describe('GitLab CI', () => {
  it('puts the token into WRIT_ID_TOKEN', async () => {
    expect(await source({ GITLAB_CI: 'true', WRIT_ID_TOKEN: 'job.token.1' })()).toBe('job.token.1')
  })

  it('without it, says what to write into the job', async () => {
    expect(await failureOf(source({ GITLAB_CI: 'true' }))).toMatchObject({
      exitStatus: 4,
      fix: 'add to the job in .gitlab-ci.yml: id_tokens: { WRIT_ID_TOKEN: { aud: "https://writ.example.com" } }',
    })
  })
})

describe('HCP Terraform', () => {
  const ours = jwt({ aud: audience })

  it('gives the tagged token before the other one', async () => {
    const env = { TFC_WORKLOAD_IDENTITY_TOKEN_WRIT: ours, TFC_WORKLOAD_IDENTITY_TOKEN: jwt({ aud: 'vault' }) }
    expect(await source(env)()).toBe(ours)
    expect((await chosen(env))?.because).toBe('TFC_WORKLOAD_IDENTITY_TOKEN_WRIT is set')
    expect(await source({ TFC_WORKLOAD_IDENTITY_TOKEN: ours })()).toBe(ours)
  })

  it('never sends a token that is meant for somebody else', async () => {
    const theirs = jwt({ aud: 'aws.workload.identity' })
    const error = await failureOf(source({ TFC_WORKLOAD_IDENTITY_TOKEN: theirs }))
    expect(error).toMatchObject({ exitStatus: 4, fix: expect.stringContaining('TFC_WORKLOAD_IDENTITY_AUDIENCE_WRIT') })
    expect(error.message).not.toContain(theirs.slice(0, 12))
  })
})

// Stand-ins for the tools of the platforms: real programs that print their arguments as a token, or fail as told.
describe.each([
  [
    'buildkite',
    'buildkite-agent',
    { BUILDKITE: 'true' },
    `oidc request-token --audience ${audience} --lifetime 300 --claim organization_id --claim pipeline_id`,
  ],
  ['circleci', 'circleci', { CIRCLECI: 'true' }, `run oidc get --claims {"aud":"${audience}"}`],
] as const)('%s', (name, tool, sign, args) => {
  const withTool = (script: string) => {
    file(`${name}/${tool}`, `#!/bin/sh\n${script}\n`, 0o700)
    return source({ ...sign, PATH: `${path(name)}:/usr/bin:/bin`, MARK: 'kept' })
  }

  it('is asked by its own tool, which sees the environment of the job', async () => {
    const seen = path(`${name}-arguments`)
    expect(await withTool(`printf '%s' "$*" > ${seen}; echo "job.$MARK.token"`)()).toBe('job.kept.token')
    const { readFileSync } = await import('node:fs')
    expect(readFileSync(seen, 'utf8')).toBe(args)
  })

  it.each([
    ['fails', 'echo secret.token.text; echo secret.token.text >&2; exit 3', 'ended with status 3'],
    ['prints too much', 'head -c 20000 /dev/zero | tr "\\0" a', 'more than 16 KiB'],
    ['prints no token', 'echo "usage: secret.token.text"', 'does not hold a bearer token'],
    ['waits for an answer and gets none', 'read -r x || exit 9', 'ended with status 9'],
  ])('exits 4 when the tool %s, and repeats nothing of what it printed', async (_, script, why) => {
    const error = await failureOf(withTool(script))
    expect(error).toMatchObject({ exitStatus: 4, message: expect.stringContaining(why) })
    expect(JSON.stringify([error.message, error.fix])).not.toContain('secret.token')
  })

  it('says that the tool is not there', async () => {
    expect((await failureOf(source({ ...sign, PATH: path('nowhere') }))).message).toContain(
      `there is no ${tool} on the PATH`,
    )
  })
})

describe('CircleCI', () => {
  it('never presents the token whose audience is the organisation', async () => {
    const env = { CIRCLECI: 'true', CIRCLE_OIDC_TOKEN_V2: jwt({ aud: 'org' }), PATH: path('nowhere') }
    expect(await failureOf(source(env))).toMatchObject({ exitStatus: 4 })
  })
})
