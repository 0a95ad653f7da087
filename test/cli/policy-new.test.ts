import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { loadPolicies } from '../../src/policy/load.ts'
import { tokens } from '../policy/draft/platforms.ts'
import { startIssuer } from '../support/issuer.ts'
import { copyPolicies } from '../support/policy-folder.ts'
import { runWrit } from './run-writ.ts'

const scratch = mkdtempSync(join(tmpdir(), 'writ-draft-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const tokenOf = (claims: object, signature = 'c2lnbmF0dXJl'): string =>
  [{ alg: 'RS256', kid: 'k' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
    .concat('.', signature)

function fileOf(token: string): string {
  const path = join(scratch, 'token')
  writeFileSync(path, token)
  return path
}

const answers = [
  ...['--name', 'new-one', '--owner', 'payments', '--backup', 'platform', '--custodian', 'sre'],
  ...['--purpose', 'read-orders', '--credential', 'orders-ro', '--because', 'Show customers: their orders'],
  ...['--environment', 'prod'],
]
const draft = (token: string, ...more: string[]) => runWrit(['policy', 'new', '--from-token', fileOf(token), ...more])

async function policies(): ReturnType<typeof copyPolicies> {
  const folder = await copyPolicies()
  onTestFinished(() => folder.close())
  return folder
}

async function problemsOf(dir: string): Promise<string[]> {
  const result = await loadPolicies(dir)
  return result.ok ? [] : result.problems.filter(({ severity }) => severity === 'error').map(({ message }) => message)
}

describe('writ policy new', () => {
  it.each(Object.entries(tokens))(
    'drafts from a token of %s what the loader takes at once',
    async (flavour, { claims }) => {
      const folder = await policies()
      // The examples hold the Issuer of GitHub, which did not sign this.
      const { status, out: text } = await draft(tokenOf(claims), ...answers, '--policies', folder.dir, '--unverified')
      expect(status).toBe(0)
      const kinds = parseAllDocuments(text).map((document) => document.get('kind'))
      expect(kinds).toEqual(flavour === 'github-actions' ? ['Workload'] : ['Issuer', 'Workload'])
      await folder.write('workloads/new-one.yaml', text)
      expect(await problemsOf(folder.dir)).toEqual([])
      const loaded = await loadPolicies(folder.dir)
      expect(loaded.ok && loaded.set.workloads.find(({ policy }) => policy.name === 'new-one')?.policy.status).toBe(
        'proposed',
      )
    },
  )

  it('marks what a token cannot say, and the loader asks for exactly that', async () => {
    const folder = await policies()
    const { out } = await draft(tokenOf(tokens.gitlab.claims))
    expect(out.match(/ # TODO: /g)).toHaveLength(10)
    await folder.write('workloads/new-one.yaml', out)
    const problems = await problemsOf(folder.dir)
    expect(problems.length).toBeGreaterThan(0)
    const filled = out
      .replaceAll(/environment: # TODO.*/g, 'environment: prod')
      .replace(/(\n)name: # TODO.*/, '$1name: new-one')
      .replace(/system: #.*/, 'system: orders')
      .replace(/owner: #.*/, 'owner: payments')
      .replace(/backup: #.*/, 'backup: platform')
      .replace(/custodian: #.*/, 'custodian: sre')
      .replace(/id: # TODO.*/, 'id: read-orders')
      .replace(/because: #.*/, 'because: Show orders')
      .replace(/credentials: #.*/, 'credentials: [orders-ro]')
    await folder.write('workloads/new-one.yaml', filled)
    expect(await problemsOf(folder.dir)).toEqual([])
  })

  it('says on stderr that nobody signed for it, and why each claim may come to name somebody else', async () => {
    const { repository_id: _, repository_owner_id: __, ...claims } = tokens['github-actions'].claims
    const { status, out, err } = await draft(tokenOf(claims))
    expect(status).toBe(0)
    expect(err.split('\n')).toEqual([
      'the signature was NOT checked, so anybody may have written this token',
      expect.stringMatching(/^warning: `repository` can be taken over once it is given up; `repository_id`/),
      '',
    ])
    expect(out).not.toContain('warning')
  })

  it('never prints the token, nor what changes from run to run', async () => {
    for (const { claims } of Object.values(tokens)) {
      const token = tokenOf(claims)
      const { out, err } = await draft(token, '--json')
      for (const part of token.split('.')) expect(out + err).not.toContain(part.slice(0, 11))
      expect(out).not.toContain(claims.jti)
    }
  })

  it('prints documents and warnings as one JSON document', async () => {
    const { out } = await draft(tokenOf(tokens.aws.claims), ...answers, '--json')
    const answer = JSON.parse(out)
    expect(answer.documents.map(({ kind }: { kind: string }) => kind)).toEqual(['Issuer', 'Workload'])
    expect(answer.warnings).toEqual(tokens.aws.warnings)
  })

  it('takes the flavour that is named where the issuer does not say it', async () => {
    const claims = { ...tokens.gitlab.claims, iss: 'https://git.example.net' }
    expect((await draft(tokenOf(claims), '--flavour', 'gitlab')).out).toContain('project_id: "22"')
    expect((await draft(tokenOf(claims))).out).toContain('flavour: generic')
    expect(await draft(tokenOf(claims), '--flavour', 'mars')).toMatchObject({ status: 2, out: '' })
  })

  it('verifies the token as the broker would when the policies hold its Issuer, and names that', async () => {
    const issuer = await startIssuer()
    onTestFinished(() => issuer.close())
    const folder = await policies()
    const document = {
      kind: 'Issuer',
      name: 'ours',
      url: issuer.url,
      audience: 'https://writ.example.com',
      environment: 'prod',
    }
    await folder.write('issuers/ours.yaml', JSON.stringify({ ...document, keys: { discovery: true } }))
    const token = await issuer.sign({ sub: 'agent-7' })
    const { status, out, err } = await draft(token, '--policies', folder.dir, '--name', 'x')
    expect({ status, kinds: parseAllDocuments(out).map((part) => part.get('kind')) }).toEqual({
      status: 0,
      kinds: ['Workload'],
    })
    expect(out).toMatch(/issuer: ours\n {2}claims:\n {4}sub: agent-7/)
    expect(out).toContain('environment: prod')
    expect(err).toContain('the token was verified as one of the Issuer ours')

    const forged = tokenOf({ iss: issuer.url, sub: 'agent-7', aud: 'https://writ.example.com', exp: 9_999_999_999 })
    const refused = await draft(forged, '--policies', folder.dir)
    expect(refused).toMatchObject({ status: 4, out: expect.stringContaining('FAIL') })
    expect(refused.out).not.toContain('Workload')
    expect((await draft(forged, '--policies', folder.dir, '--unverified')).err).toContain('NOT checked')
  })

  it.each([
    ['no token', 'hello world'],
    ['two parts', 'a.b'],
    ['no JSON', 'YWJj.YWJj.YWJj'],
    ['too much', `${'a'.repeat(17_000)}.b.c`],
  ])('exits 4 for %s, and repeats nothing of it', async (_, text) => {
    const fromFile = await draft(text)
    const fromInput = await runWrit(['policy', 'new', '--from-token', '-'], { stdin: text })
    for (const { status, out, err } of [fromFile, fromInput]) {
      expect({ status, out }).toEqual({ status: 4, out: '' })
      expect(err).not.toContain(text)
    }
  })

  it('reads standard input, and needs to be told what to read', async () => {
    const read = await runWrit(['policy', 'new', '--from-token', '-'], { stdin: `${tokenOf(tokens.gitlab.claims)}\n` })
    expect(read).toMatchObject({ status: 0, out: expect.stringContaining('project_id') })
    expect(await runWrit(['policy', 'new'])).toMatchObject({ status: 2 })
  })
})
