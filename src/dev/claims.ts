import { randomUUID } from 'node:crypto'
import { awsIssuer } from '../base/aws-issuer.ts'
import type { Claim } from '../identity/identity.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import type { ClaimPattern } from '../policy/workload.ts'
import { cloudClaims } from './cloud-claims.ts'
import { pipelineClaims } from './pipeline-claims.ts'

/** Claims under construction. */
export type MutableClaims = { [name: string]: Claim }

// What a `*` stands for, by the segment before it; anything that is not one of these is just some name.
const plausible: Readonly<Record<string, string>> = {
  heads: 'main',
  tags: 'v1.0.0',
  pull: '1',
  ref: 'refs',
  pod: 'pod-1',
}

/** Text that a segment glob matches: each `*` becomes a name that could stand there. */
export function fillGlob(pattern: string): string {
  let before = ''
  return pattern
    .split(/([/:])/)
    .map((part) => {
      const filled = part.replace('*', part === '*' ? (plausible[before] ?? 'example') : 'x1')
      if (part !== '/' && part !== ':') before = part
      return filled
    })
    .join('')
}

/** Claims that a workload's `match.claims` accepts. */
export function fillPattern(pattern: ClaimPattern): Claim {
  if (typeof pattern === 'string') return fillGlob(pattern)
  if (typeof pattern !== 'object') return pattern
  return Object.fromEntries(Object.entries(pattern).map(([name, inner]) => [name, fillPattern(inner)]))
}

const isMap = (value: Claim | undefined): value is { readonly [name: string]: Claim } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** `over` laid over `under`, map by map. */
export function layer(under: MutableClaims, over: { readonly [name: string]: Claim }): MutableClaims {
  const result: MutableClaims = { ...under }
  for (const [name, value] of Object.entries(over)) {
    const below = result[name]
    result[name] = isMap(value) && isMap(below) ? layer({ ...below }, value) : value
  }
  return result
}

/**
 * Sets the claim that `key` names. Dots lead into maps, but a claim that is there already and holds dots in its own name
 * (`kubernetes.io`) is taken whole first, and so is a name that is a URL.
 */
export function setClaim(claims: MutableClaims, key: string, value: Claim): MutableClaims {
  const own = Object.keys(claims)
    .filter((name) => key === name || key.startsWith(`${name}.`))
    .sort((a, b) => b.length - a.length)[0]
  const head = own ?? (key.includes('://') ? key : key.split('.', 1)[0]) ?? key
  if (head === key) return { ...claims, [key]: value }
  const below = claims[head]
  return { ...claims, [head]: setClaim(isMap(below) ? { ...below } : {}, key.slice(head.length + 1), value) }
}

const textOf = (value: Claim | undefined): string => (typeof value === 'string' ? value : '')

/** What a projected service account token of Kubernetes holds beside the claims asked for. */
function kubernetesClaims(asked: MutableClaims): MutableClaims {
  const bound = asked['kubernetes.io']
  const [, , subNamespace, subAccount] = textOf(asked.sub).split(':')
  const account = isMap(bound) ? bound.serviceaccount : undefined
  const namespace = (isMap(bound) ? textOf(bound.namespace) : '') || subNamespace || 'default'
  const name = (isMap(account) ? textOf(account.name) : '') || subAccount || 'default'
  return {
    sub: `system:serviceaccount:${namespace}:${name}`,
    'kubernetes.io': {
      namespace,
      node: { name: 'node-1', uid: randomUUID() },
      pod: { name: `${name}-7c9d8b6f5-x2k4q`, uid: randomUUID() },
      serviceaccount: { name, uid: randomUUID() },
    },
  }
}

const githubSubject = /^repo:([^/@:]+)(?:@(\d+))?\/([^/@:]+)(?:@(\d+))?(?::(.*))?$/

// Numbers in the place of GitHub's: the same name always has the same one, as it is there.
const numberFor = (text: string): string =>
  String(10_000_000 + [...text].reduce((sum, char) => (sum * 31 + (char.codePointAt(0) ?? 0)) % 80_000_000, 7))

/** What a job token of GitHub Actions holds beside the claims asked for. */
function githubClaims(asked: MutableClaims): MutableClaims {
  const [, subOwner, subOwnerId, subName, subId, rest = ''] = githubSubject.exec(textOf(asked.sub)) ?? []
  const [askedOwner, askedName] = textOf(asked.repository).split('/')
  const owner = askedOwner || textOf(asked.repository_owner) || subOwner || 'example'
  const name = askedName || subName || 'app'
  const ref = textOf(asked.ref) || (rest.startsWith('ref:') ? rest.slice('ref:'.length) : 'refs/heads/main')
  const environment =
    textOf(asked.environment) || (rest.startsWith('environment:') ? rest.slice('environment:'.length) : '')
  const workflow = `${owner}/${name}/.github/workflows/deploy.yml@${ref}`
  const ownerId = textOf(asked.repository_owner_id) || subOwnerId || numberFor(owner)
  const id = textOf(asked.repository_id) || subId || numberFor(`${owner}/${name}`)
  const unit = environment === '' ? `ref:${ref}` : `environment:${environment}`
  return {
    sub: `repo:${owner}@${ownerId}/${name}@${id}:${unit}`,
    actor: 'octocat',
    actor_id: '583231',
    base_ref: '',
    ...(environment === '' ? {} : { environment }),
    event_name: 'push',
    head_ref: '',
    job_workflow_ref: workflow,
    job_workflow_sha: '0'.repeat(39).concat('1'),
    ref,
    ref_protected: 'true',
    ref_type: ref.startsWith('refs/tags/') ? 'tag' : 'branch',
    repository: `${owner}/${name}`,
    repository_id: id,
    repository_owner: owner,
    repository_owner_id: ownerId,
    repository_visibility: 'private',
    run_attempt: '1',
    run_id: String(Math.floor(1e9 + Math.random() * 9e9)),
    run_number: '42',
    runner_environment: 'github-hosted',
    sha: '0'.repeat(39).concat('1'),
    workflow: 'deploy',
    workflow_ref: workflow,
    workflow_sha: '0'.repeat(39).concat('1'),
  }
}

/** What an ID token of a GitLab CI job holds beside the claims asked for. */
function gitlabClaims(asked: MutableClaims): MutableClaims {
  const [, subProject = '', , subRefType = '', , subRef = ''] = textOf(asked.sub).split(':')
  const path = textOf(asked.project_path) || subProject || 'example/app'
  const ref = textOf(asked.ref) || subRef || 'main'
  const refType = textOf(asked.ref_type) || subRefType || 'branch'
  const namespace = path.slice(0, Math.max(0, path.lastIndexOf('/')))
  return {
    sub: `project_path:${path}:ref_type:${refType}:ref:${ref}`,
    job_id: String(Math.floor(1e9 + Math.random() * 9e9)),
    namespace_id: numberFor(namespace),
    namespace_path: namespace,
    pipeline_id: String(Math.floor(1e8 + Math.random() * 9e8)),
    pipeline_source: 'push',
    project_id: numberFor(path),
    project_path: path,
    ref,
    ref_protected: 'true',
    ref_type: refType,
    runner_environment: 'gitlab-hosted',
    runner_id: 1,
    sha: '0'.repeat(39).concat('1'),
    user_id: '42',
    user_login: 'mona',
  }
}

/** Claims as the platform of that issuer would write them around those a workload asks for. */
export function shapeFor(issuer: IssuerPolicy, asked: MutableClaims): MutableClaims {
  const { flavour, url } = issuer
  const other = cloudClaims(issuer, asked) ?? pipelineClaims(issuer, asked)
  if (other !== undefined) return layer(other, asked)
  if (flavour === 'kubernetes' || awsIssuer(url) === 'eks') return layer(kubernetesClaims(asked), asked)
  if (flavour === 'github-actions') return layer(githubClaims(asked), asked)
  if (flavour === 'gitlab') return layer(gitlabClaims(asked), asked)
  return { sub: 'example', ...asked }
}
