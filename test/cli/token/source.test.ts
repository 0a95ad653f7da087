import { writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { clientHelp } from '../../../src/cli/connect.ts'
import { checkOwnToken } from '../../../src/cli/doctor/own-token.ts'
import { platforms } from '../../../src/cli/token/platforms.ts'
import { readEnvironment } from '../../../src/config/environment.ts'
import { chosen, failureOf, scratch, source } from './setting.ts'

const { file, path } = scratch()

describe('the workload token', () => {
  const named = file('named', 'from.option\n')
  const variableFile = file('variable', 'from.variable-file\r\n')
  const kubernetes = file('kubernetes', 'from.kubernetes')
  const spiffe = file('spiffe', 'from.spiffe\n')
  const all = { WRIT_TOKEN_FILE: variableFile, WRIT_TOKEN: 'from.variable', WRIT_TOKEN_FROM: 'spiffe' }

  it('comes from the first source that is set', async () => {
    const files = { kubernetes, spiffe }
    expect(await source(all, { file: named, ...files })()).toBe('from.option')
    expect(await source(all, { from: 'kubernetes', ...files })()).toBe('from.kubernetes')
    expect(await source(all, files)()).toBe('from.variable-file')
    expect(await source({ WRIT_TOKEN: ' from.variable\n', WRIT_TOKEN_FROM: 'spiffe' }, files)()).toBe('from.variable')
    expect(await source({ WRIT_TOKEN: '', WRIT_TOKEN_FROM: 'spiffe' }, files)()).toBe('from.spiffe')
    expect(await source({}, files)()).toBe('from.kubernetes')
    expect(await source({}, { spiffe })()).toBe('from.spiffe')
  })

  it('is read anew each time, because platforms rotate it', async () => {
    const rotating = file('rotating', 'one')
    const read = source({}, { file: rotating })
    expect(await read()).toBe('one')
    writeFileSync(rotating, 'two')
    expect(await read()).toBe('two')
  })

  it('stays that of the platform that was found, whatever appears later', async () => {
    const read = source({}, { kubernetes: path('later'), spiffe })
    expect(await read()).toBe('from.spiffe')
    file('later', 'from.kubernetes')
    expect(await read()).toBe('from.spiffe')
    expect(await source({}, { kubernetes: path('later'), spiffe })()).toBe('from.kubernetes')
  })

  it('never falls through to another identity when the named source is unusable', async () => {
    const absent = path('absent')
    const error = { exitStatus: 4, message: `the token file ${absent}: there is no such file` }
    await expect(source(all, { file: absent, kubernetes })()).rejects.toMatchObject(error)
    await expect(source({ ...all, WRIT_TOKEN_FILE: absent })()).rejects.toMatchObject(error)
    await expect(source({}, { kubernetes: file('empty', '\n'), spiffe })()).rejects.toMatchObject({ exitStatus: 4 })
    await expect(source({ GITLAB_CI: 'true' }, { kubernetes })()).rejects.toMatchObject({ exitStatus: 4 })
  })

  it.each([
    ['nothing', ''],
    ['two lines', 'one\ntwo'],
    ['a header of its own', 'x\r\nX-Evil: 1'],
    ['other characters', 'tök€n'],
    ['more than 16 KiB', 'a'.repeat(16 * 1024 + 1)],
  ])('is refused when the file holds %s, without repeating any of it', async (_, text) => {
    const error = await failureOf(source({}, { file: file('bad', text) }))
    expect(error.exitStatus).toBe(4)
    if (text !== '') expect(error.message).not.toContain(text.slice(0, 8))
  })

  it('may be as long as the broker reads', async () => {
    const text = 'a'.repeat(16 * 1024)
    expect(await source({}, { file: file('long', `${text}\r\n`) })()).toBe(text)
  })

  it('is explained when there is none, and SPIFFE without a helper only then', async () => {
    const socket = { SPIFFE_ENDPOINT_SOCKET: 'unix:///run/agent.sock' }
    expect(await failureOf(source({}))).toMatchObject({
      exitStatus: 4,
      fix: expect.stringContaining('WRIT_TOKEN_FILE'),
    })
    expect(await failureOf(source(socket))).toMatchObject({
      exitStatus: 4,
      message: expect.stringContaining('gRPC'),
      fix: expect.stringContaining('spiffe-helper'),
    })
    expect(await source(socket, { kubernetes })()).toBe('from.kubernetes')
    expect((await failureOf(source({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }))).fix).toMatch(/projected token/)
  })

  it('comes from a platform that is known, or is a mistake in the command line', () => {
    expect(() => source({}, { from: 'kubernets' })).toThrow('did you mean kubernetes?')
    expect(() => source({ WRIT_TOKEN_FROM: 'mars' })).toThrow(/one of github-actions, .*google/)
    expect(() => source({}, { from: 'spiffe', file: named })).toThrow('contradict')
  })

  it('may come from each platform that --help names, and from no other', () => {
    const listed = /looking which one this is: ([\s\S]*?)\n {2}--audience/.exec(clientHelp)?.[1]
    expect(listed?.split(/,\s*/)).toEqual(platforms.map(({ name }) => name))
  })
})

describe('which platform this is', () => {
  const cloud = { aws: 'sys_vendor', azure: 'chassis_asset_tag', google: 'product_name' } as const
  const said = {
    aws: 'Amazon EC2',
    azure: '7783-7084-3265-9085-8269-3286-77',
    google: 'Google Compute Engine',
  } as const

  it.each(Object.keys(cloud) as (keyof typeof cloud)[])(
    'is %s where the firmware says so, but in no pod',
    async (name) => {
      file(`dmi-${name}/${cloud[name]}`, `${said[name]}\n`)
      const dmi = path(`dmi-${name}`)
      expect(await chosen({}, { dmi })).toEqual({ name, because: `the firmware of this machine says "${said[name]}"` })
      expect(await chosen({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }, { dmi })).toBeUndefined()
      if (name === 'aws') expect(await chosen({ AWS_EC2_METADATA_DISABLED: 'true' }, { dmi })).toBeUndefined()
    },
  )

  it.each([
    [
      'github-actions',
      { ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'y', GITLAB_CI: 'true' },
    ],
    ['gitlab', { GITLAB_CI: 'true', TFC_WORKLOAD_IDENTITY_TOKEN: 'x' }],
    ['terraform', { TFC_WORKLOAD_IDENTITY_TOKEN: 'x', BUILDKITE: 'true' }],
    ['buildkite', { BUILDKITE: 'true', CIRCLECI: 'true' }],
    ['circleci', { CIRCLECI: 'true', AWS_WEB_IDENTITY_TOKEN_FILE: '/x' }],
    ['aws', { AWS_WEB_IDENTITY_TOKEN_FILE: '/x', AZURE_FEDERATED_TOKEN_FILE: '/x' }],
    ['aws', { AWS_LAMBDA_FUNCTION_NAME: 'f' }],
    ['aws', { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/x' }],
    ['aws', { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.170.23/v1/credentials' }],
    ['azure', { IDENTITY_ENDPOINT: 'http://127.0.0.1:1/msi/token', IDENTITY_HEADER: 'h', K_SERVICE: 's' }],
    ['google', { K_SERVICE: 's' }],
    ['google', { GCE_METADATA_HOST: 'metadata' }],
  ])('is %s by its variables', async (name, env) => {
    expect((await chosen(env))?.name).toBe(name)
  })

  it('is none on a laptop that works with clouds and CI', async () => {
    const laptop = {
      AWS_ACCESS_KEY_ID: 'AKIA',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_REGION: 'eu-west-1',
      AZURE_CLIENT_ID: 'x',
      GOOGLE_CLOUD_PROJECT: 'x',
      IDENTITY_ENDPOINT: 'http://localhost:40342/metadata/identity/oauth2/token', // Azure Arc, whose agent sets no header
      CIRCLE_OIDC_TOKEN_V2: 'x',
      WRIT_ID_TOKEN: 'x',
    }
    expect(await chosen(laptop)).toBeUndefined()
  })

  it('is told by writ doctor, and why', async () => {
    const found = await checkOwnToken(readEnvironment({ BUILDKITE: 'true' }))
    expect(found).toMatchObject({
      verdict: 'ok',
      detail: expect.stringMatching(/buildkite, because BUILDKITE is true$/),
    })
    expect(await checkOwnToken(readEnvironment({ WRIT_TOKEN_FROM: 'mars' }))).toMatchObject({ verdict: 'fail' })
  })
})
