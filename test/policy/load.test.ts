import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadPolicies, problemText } from '../../src/policy/load.ts'
import { base, edit, exception, folder, loadSet, problemsOf, warningsOf } from './organisation.ts'

/** One mistake a file, with the line that must be reported for it. */
const mistakes: readonly [string, Record<string, string>, string][] = [
  [
    'a key with a slip of the finger',
    edit('workload.yaml', 'custodian:', 'custodain:'),
    'workload.yaml:7:1: unknown key `custodain`, did you mean `custodian`?',
  ],
  [
    'a missing key',
    edit('workload.yaml', 'system: orders\n', ''),
    'workload.yaml:1:1: `system` is missing, add system:',
  ],
  [
    'a wrong type',
    edit('workload.yaml', 'active: 4', 'active: many'),
    'workload.yaml:17:23: `purposes.0.limits.active` must be a number, not text,',
  ],
  [
    'a word of another list',
    edit('workload.yaml', 'type: service', 'type: servce'),
    'workload.yaml:3:7: `type` cannot be `servce`, did you mean `service`?',
  ],
  [
    'a kind nobody knows',
    edit('workload.yaml', 'kind: Workload', 'kind: Wrkload'),
    'workload.yaml:1:7: there is no kind `Wrkload`, did you mean `Workload`?',
  ],
  ['no kind', edit('workload.yaml', 'kind: Workload\n', ''), 'workload.yaml:1:1: `kind` is missing, use one of'],
  [
    'a name with capitals',
    edit('workload.yaml', 'name: checkout', 'name: Checkout'),
    'workload.yaml:2:7: `name` cannot be `Checkout`, write a name: lower-case',
  ],
  [
    'a duration without a unit',
    edit('workload.yaml', 'max: 1h', 'max: 60'),
    'workload.yaml:16:31: `purposes.0.ttl.max` must be text, not a number,',
  ],
  [
    'a day that does not exist',
    edit('workload.yaml', 'on: 2026-11-02', 'on: 2026-02-30'),
    'workload.yaml:9:27: `signoff.on` cannot be `2026-02-30`, write a day that exists',
  ],
  [
    'an owner nobody is',
    edit('workload.yaml', 'owner: payments', 'owner: paymnts'),
    'workload.yaml:5:8: there is no Team named `paymnts`, did you mean `payments`?',
  ],
  [
    'a backup nobody is',
    edit('workload.yaml', 'backup: platform', 'backup: nobody-at-all'),
    'workload.yaml:6:9: there is no Team named `nobody-at-all`, add a Team',
  ],
  [
    'an issuer nobody is',
    edit('workload.yaml', 'issuer: cluster-eu', 'issuer: cluster-us'),
    'workload.yaml:10:18: there is no Issuer named `cluster-us`, did you mean `cluster-eu`?',
  ],
  [
    'a credential nobody has',
    edit('workload.yaml', 'orders-ro, orders-rw', 'orders-ro, orders-rx'),
    'workload.yaml:15:30: there is no Credential named `orders-rx`,',
  ],
  [
    'an owner that is its own backup',
    edit('workload.yaml', 'backup: platform', 'backup: payments'),
    'workload.yaml:6:9: the owner is its own backup,',
  ],
  [
    'two purposes with one id',
    edit('workload.yaml', 'id: export', 'id: read'),
    'workload.yaml:20:9: there is another purpose `read`,',
  ],
  [
    'two documents with one name',
    { ...base, 'z.yaml': `${base['issuer.yaml']}`.replace('url: https://', 'url: https://x.') },
    'z.yaml:2:7: there is another Issuer named `cluster-eu` in issuer.yaml,',
  ],
  [
    'two issuers with one url',
    { ...base, 'z.yaml': `${base['issuer.yaml']}`.replace('cluster-eu', 'cluster-us') },
    'z.yaml:4:6: another Issuer has the same url',
  ],
  [
    'two workloads with one match',
    {
      ...base,
      'z.yaml': `${base['workload.yaml']}`.replace('name: checkout', 'name: twin').replace('[key]', '[orders-ro]'),
    },
    'z.yaml:10:8: another workload has the same match',
  ],
  [
    'an environment that differs',
    edit('credentials.yaml', 'environment: prod', 'environment: staging'),
    'workload.yaml:15:19: `orders-ro` is of staging, the purpose of prod,',
  ],
  [
    'one role in two environments',
    edit('credentials.yaml', 'role: orders-rw\nenvironment: prod', 'role: orders-ro\nenvironment: staging'),
    'credentials.yaml:14:7: `database/orders-ro` is already a credential of another environment',
  ],
  [
    'a default above the greatest life',
    edit('workload.yaml', 'default: 15m', 'default: 2h'),
    'workload.yaml:16:21: the default life is longer than the greatest,',
  ],
  [
    'a condition that does not parse',
    edit('workload.yaml', '    renewable: true', '    when: request.reason =='),
    'workload.yaml:18:28: the condition is not valid: Unexpected token: EOF,',
  ],
  [
    'a condition with a misspelt field',
    edit('workload.yaml', '    renewable: true', '    when: request.reasn == ""'),
    'workload.yaml:18:19: the condition is not valid: No such key: reasn,',
  ],
  [
    'a condition that is no condition',
    edit('workload.yaml', '    renewable: true', '    when: request.ttl'),
    'workload.yaml:18:11: the condition is not valid: gives int, not bool,',
  ],
  [
    'a regular expression',
    edit('workload.yaml', '    renewable: true', '    when: claims.sub.matches("a.*")'),
    'workload.yaml:18:11: the condition is not valid: regular expressions are not allowed, use ==',
  ],
  [
    'an approver who asked',
    { ...base, 'e.yaml': exception('ttl', 'ttl: { max: 1h }').replace('carol', 'bob') },
    'e.yaml:9:14: the approver asked for it, too,',
  ],
  [
    'an exception for a purpose nobody has',
    { ...base, 'e.yaml': exception('review').replace('purpose: read', 'purpose: rread') },
    'e.yaml:5:10: `checkout` has no purpose `rread`, use one of read, export',
  ],
  [
    'an exception for nobody',
    { ...base, 'e.yaml': exception('review').replace('workload: checkout', 'workload: checkot') },
    'e.yaml:4:11: there is no Workload named `checkot`, did you mean `checkout`?',
  ],
  [
    'a guardrail without a limit',
    { ...base, 'g.yaml': 'kind: Guardrail\nname: idle\n' },
    'g.yaml:2:7: the guardrail limits nothing,',
  ],
  [
    'a placeholder nobody fills in',
    edit('credentials.yaml', 'role: orders-ro\n', 'role: orders-ro\nparams: { user: "{{sub}}" }\n'),
    'credentials.yaml:6:17: nothing fills in `{{sub}}`,',
  ],
  [
    'a path that climbs',
    edit('credentials.yaml', 'path: vendor/key', 'path: ../sys/seal'),
    'credentials.yaml:23:7: `path` cannot be `../sys/seal`, write a path',
  ],
  [
    'a role that is a path',
    edit('credentials.yaml', 'role: orders-ro', 'role: orders/ro'),
    'credentials.yaml:5:7: `role` cannot be `orders/ro`, write a Vault role',
  ],
  ['an engine nobody knows', edit('credentials.yaml', 'engine: database', 'engine: databse'), 'credentials.yaml:3:9: '],
  [
    'a person listed twice',
    edit('teams.yaml', 'subject: bob', 'subject: alice'),
    'teams.yaml:4:51: this person is listed twice,',
  ],
  [
    'any service account',
    edit('workload.yaml', 'system:serviceaccount:orders:checkout', 'system:serviceaccount:*:*'),
    'workload.yaml:10:45: the match is so wide that any service account',
  ],
  [
    'any namespace',
    edit('workload.yaml', 'system:serviceaccount:orders:checkout', 'system:serviceaccount:*:checkout'),
    'workload.yaml:10:45: the match takes in any namespace',
  ],
  [
    'claims that every token has',
    edit('workload.yaml', 'sub: "system:serviceaccount:orders:checkout"', 'aud: writ'),
    'workload.yaml:10:38: the match is so wide that any token',
  ],
  [
    'two stars in a segment',
    edit('workload.yaml', 'orders:checkout', 'orders:*check*'),
    'workload.yaml:10:45: two `*` in one segment,',
  ],
  [
    'a static secret that two share',
    {
      ...base,
      'z.yaml': `${base['workload.yaml']}`
        .replace('name: checkout', 'name: twin')
        .replace('orders:checkout', 'orders:twin'),
    },
    'z.yaml:23:19: everyone gets the same secret of `key`, and 2 workloads use it,',
  ],
  [
    'a static role that two share',
    {
      ...edit('credentials.yaml', 'role: orders-ro', 'static: true\nrole: orders-ro'),
      'z.yaml': `${base['workload.yaml']}`
        .replace('name: checkout', 'name: twin')
        .replace('orders:checkout', 'orders:twin')
        .replace('[key]', '[orders-rw]'),
    },
    'z.yaml:15:19: everyone gets the same secret of `orders-ro`, and 2 workloads use it,',
  ],
  [
    'delegation by a service',
    edit('workload.yaml', '    renewable: true', '    delegation: { depth: 1, fan_out: 1, budget: 1 }'),
    'workload.yaml:18:17: only agents pass',
  ],
  [
    'reviews of tokens by what is no Kubernetes',
    edit(
      'issuer.yaml',
      'flavour: kubernetes',
      'flavour: gitlab\ntoken_review: { url: https://api, token_file: /t, ca_file: /c }',
    ),
    'issuer.yaml:4:15: only Kubernetes reviews tokens,',
  ],
  [
    'reviews of tokens in the clear',
    edit(
      'issuer.yaml',
      'environment:',
      'token_review: { url: "http://api", token_file: /t, ca_file: /c }\nenvironment:',
    ),
    'issuer.yaml:7:22: a token is sent there, and it is not https,',
  ],
  ['a policy that is a list', { ...base, 'z.yaml': '- a\n' }, 'z.yaml:1:1: a policy document is a map,'],
  [
    'a repeated key',
    edit('workload.yaml', 'system: orders', 'system: orders\nsystem: shop'),
    'workload.yaml:5:1: the key `system` is given twice,',
  ],
  [
    'a tab',
    edit('workload.yaml', '    because', '\tbecause'),
    'workload.yaml:13:1: Tabs are not allowed as indentation,',
  ],
  [
    'an anchor and an alias',
    edit('workload.yaml', 'orders\n', '&o orders\n'),
    'workload.yaml:4:12: anchors are not read,',
  ],
  ['a tag', edit('workload.yaml', 'name: checkout', 'name: !!str checkout'), 'workload.yaml:2:13: tags are not read,'],
]

describe('each mistake is reported at its place, with what to do', () => {
  test.each(mistakes)('%s', async (_what, files, expected) => {
    const problems = await problemsOf(files)
    expect(problems).toContainEqual(expect.stringContaining(expected))
    // The slip itself, and at most the one thing that follows from it.
    expect(problems.length).toBeLessThanOrEqual(2)
  })
})

describe('what is allowed and worth a look is a warning', () => {
  test('nothing about a clean set but its static secret', async () => {
    expect(await warningsOf(base)).toEqual([
      expect.stringContaining('workload.yaml:23:19: `key` is static and nothing allows that here'),
    ])
    expect(await warningsOf({ ...base, 'e.yaml': exception('static_credential') })).toEqual([])
  })
  const github = `${base['issuer.yaml']}`
    .replace('flavour: kubernetes', 'flavour: github-actions')
    .replaceAll('cluster-eu', 'github')
    .replace('kubernetes.default.svc', 'github.example.com/_services/token')
  const pipeline = (claims: string): Record<string, string> => ({
    ...edit(
      'workload.yaml',
      '{ issuer: cluster-eu, claims: { sub: "system:serviceaccount:orders:checkout" } }',
      `{ issuer: github, claims: ${claims} }`,
      { ...base, 'e.yaml': exception('static_credential') },
    ),
    'github.yaml': github,
  })
  test('a GitHub repository by name only', async () => {
    const warning = expect.stringContaining('add `repository_id` and `repository_owner_id`')
    expect(await warningsOf(pipeline('{ sub: "repo:acme/shop:ref:refs/heads/main" }'))).toEqual([warning])
    expect(await warningsOf(pipeline('{ repository: acme/shop, ref: refs/heads/main }'))).toEqual([warning])
    expect(await warningsOf(pipeline('{ sub: "repo:acme@1/shop@2:ref:refs/heads/main" }'))).toEqual([])
    expect(
      await warningsOf(pipeline('{ repository_id: "1", repository_owner_id: "2", ref: refs/heads/main }')),
    ).toEqual([])
  })
  test('a GitLab project by path only; any project, and ids that are numbers, are errors', async () => {
    const job = (claims: string): Record<string, string> => ({
      ...pipeline(claims),
      'github.yaml': github.replace('flavour: github-actions', 'flavour: gitlab'),
    })
    expect(
      await warningsOf(job('{ sub: "project_path:shop/app:ref_type:branch:ref:main", ref_protected: "true" }')),
    ).toEqual([expect.stringContaining('add `project_id`')])
    expect(await warningsOf(job('{ project_id: "22", ref_protected: "true" }'))).toEqual([])
    expect(await problemsOf(job('{ sub: "project_path:shop/*:ref_type:branch:ref:main" }'))).toEqual([
      expect.stringContaining('any project fits'),
    ])
    expect(await problemsOf(job('{ namespace_id: "7" }'))).toEqual([expect.stringContaining('any project fits')])
    expect(await problemsOf(job('{ project_id: 22 }'))).toEqual([expect.stringContaining('put it in quotes: "22"')])
  })
  test('any repository of an owner, and ids that are numbers, are errors', async () => {
    expect(await problemsOf(pipeline('{ repository_owner_id: "2" }'))).toEqual([
      expect.stringContaining('any repository fits'),
    ])
    expect(await problemsOf(pipeline('{ sub: "repo:acme/*:ref:refs/heads/main" }'))).toEqual([
      expect.stringContaining('any repository fits'),
    ])
    expect(await problemsOf(pipeline('{ repository_id: 1 }'))).toEqual([
      expect.stringContaining('put it in quotes: "1"'),
    ])
  })
})

test('all problems of all files are reported at once, in the order of files and lines', async () => {
  const files: Record<string, string> = {
    ...edit('workload.yaml', 'owner: payments', 'owner: nobody'),
    'a.yaml': 'kind: Team\n',
    'b.yaml': 'a: [1\n',
  }
  const problems = await problemsOf({
    ...files,
    'workload.yaml': files['workload.yaml']?.replace('type: service', 'type: x') ?? '',
  })
  const places = problems.map((problem) => problem.split(': ')[0])
  expect(places).toEqual([...places].sort())
  expect(new Set(problems.map((problem) => problem.split(':')[0]))).toEqual(
    new Set(['a.yaml', 'b.yaml', 'workload.yaml']),
  )
})

test('a document with a fault of its own does not make what names it wrong', async () => {
  const problems = await problemsOf(edit('teams.yaml', 'contact: { email: payments@example.com }', 'contact: 1'))
  expect(problems).toHaveLength(1)
})

test('the digest does not depend on the order of documents, keys or files, and changes with any value', async () => {
  const { digest } = await loadSet(base)
  const teams = `${base['teams.yaml']}`.split('---\n').reverse().join('---\n')
  expect((await loadSet({ ...base, 'teams.yaml': teams })).digest).toBe(digest)
  const { 'issuer.yaml': issuer = '', ...others } = base
  expect(
    (
      await loadSet({
        ...others,
        'deep/er/z.yaml': `${issuer.trim().split('\n').reverse().join('\n')}\n# said differently\n`,
      })
    ).digest,
  ).toBe(digest)
  expect((await loadSet(edit('workload.yaml', 'max: 1h', 'max: 2h'))).digest).not.toBe(digest)
})

test('a key file is found relative to the document that names it', async () => {
  const dir = await folder({ ...edit('issuer.yaml', '{ discovery: true }', '{ jwks_file: keys/jwks.json }'), x: '' })
  const result = await loadPolicies(dir)
  expect(result.ok && result.set.issuers[0]?.keys).toEqual({ jwks_file: join(dir, 'keys/jwks.json') })
})

test('test cases, schemas, hidden files and other files are not policies', async () => {
  const noise = {
    'tests/a.yaml': 'nonsense',
    'schema/b.yaml': 'nonsense',
    '.git/c.yaml': 'nonsense',
    '.d.yaml': 'nonsense',
    'e.txt': 'nonsense',
    'f.yaml~': 'nonsense',
  }
  expect((await loadSet({ ...base, ...noise })).digest).toBe((await loadSet(base)).digest)
})

test('a folder that is not there or holds nothing is a problem, not an empty set', async () => {
  const empty = await folder({})
  for (const dir of [empty, join(empty, 'missing')]) expect((await loadPolicies(dir)).ok).toBe(false)
})

test('bytes that are not UTF-8 and files beyond 1 MiB are refused by name', async () => {
  expect(await problemsOf({ ...base, 'z.yaml': new Uint8Array([0x6b, 0xff, 0xfe]) })).toEqual([
    'z.yaml:1:1: the file is not UTF-8, save it as UTF-8',
  ])
  expect(await problemsOf({ ...base, 'z.yaml': `# ${'x'.repeat(1024 * 1024)}` })).toEqual([
    'z.yaml:1:1: the file is larger than 1 MiB, split it',
  ])
})

describe('hostile YAML ends in an answer, and soon', () => {
  const bombs: readonly [string, string][] = [
    [
      'an anchor bomb',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghij'
        .split('')
        .map((name, at) => `${name}: &${name} [${`*${'abcdefghi'[at]},`.repeat(9)}]`)
        .join('\n')}\n`,
    ],
    ['a hundred thousand brackets', '['.repeat(100_000)],
    ['a hundred thousand dashes', '- '.repeat(50_000)],
    ['deep indentation', Array.from({ length: 400 }, (_, at) => `${' '.repeat(at)}a:`).join('\n')],
    ['many keys', Array.from({ length: 20_000 }, (_, at) => `k${at}: 1`).join('\n')],
    ['control characters', 'kind: "\u0000\u202e"'],
    ['a merge key', 'kind: Team\n<<: { name: x }\n'],
    ['a prototype', 'kind: Team\n__proto__: { name: x }\n'],
    ['another version of YAML', '%YAML 1.1\n---\nkind: Team\n'],
  ]
  test.each(bombs)('%s', async (_what, text) => {
    const problems = await problemsOf({ ...base, 'z.yaml': text })
    expect(problems.length).toBeGreaterThan(0)
    expect(problems.length).toBeLessThanOrEqual(201)
    expect(problems.every((problem) => problem.startsWith('z.yaml:') && problem.length < 1000)).toBe(true)
  })
})

test('many files are read in threads with the same outcome as few', async () => {
  const workload = (at: number): string =>
    `${base['workload.yaml']}`
      .replace('name: checkout', `name: svc-${at}`)
      .replace('orders:checkout', `orders:svc-${at}`)
      .replace('[key]', '[orders-ro]')
  const files: Record<string, string> = { ...base }
  for (let at = 0; at < 200; at++) files[`many/${at}.yaml`] = workload(at)
  const dir = await folder(files)
  const result = await loadPolicies(dir)
  expect(result.ok && result.set.workloadCount).toBe(201)
  const broken = join(dir, 'many/77.yaml')
  await writeFile(broken, (await readFile(broken, 'utf8')).replace('owner: payments', 'owner: paymnts'))
  const again = await loadPolicies(dir)
  expect(again.ok ? [] : again.problems.filter(({ severity }) => severity === 'error').map(problemText)).toEqual([
    'many/77.yaml:5:8: there is no Team named `paymnts`, did you mean `payments`?',
  ])
})
