import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import { disagreement, isUuid, malformed } from './disagreement.ts'
import type { Flavour } from './flavour.ts'

// A step key may hold colons; nothing before it can.
const subjectForm =
  /^organization:([a-z0-9-]{1,100}):pipeline:([a-z0-9-]{1,200}):ref:([^:]{1,1000}):commit:([^:]{1,200}):step:(.{0,200})$/

/** What `--subject-claim` may put in the place of `sub`. */
const subjectClaims = [
  'organization_id',
  'pipeline_id',
  'cluster_id',
  'queue_id',
  'build_id',
  'job_id',
  'agent_id',
] as const

/**
 * Job tokens of Buildkite (buildkite.com/docs, "buildkite-agent oidc"). `sub` is either the usual list of names, which must
 * agree with the claims, or one id that a claim says, too. The job is the run; a job that is retried is another job.
 */
export const buildkite: Flavour = {
  name: 'buildkite',
  types: ['jwt'],
  check(claims) {
    const rule = 'buildkite.ids'
    const wrong =
      malformed(rule, ['organization_slug', 'pipeline_slug'], claims, (text) => /^[a-z0-9-]{1,200}$/.test(text)) ??
      malformed(rule, ['job_id', ...subjectClaims.filter((name) => claims[name] !== undefined)], claims, isUuid)
    return [wrong ?? passed(rule, 'slugs and ids are of their form'), ...(wrong === undefined ? [subject(claims)] : [])]
  },
  run: ({ job_id: id }) => (isUuid(id) ? `job/${id}` : undefined),
}

function subject(claims: Claims): Finding {
  const rule = 'buildkite.subject'
  const sub = String(claims.sub)
  if (isUuid(sub)) {
    const claim = subjectClaims.find((name) => claims[name] === sub)
    return claim === undefined
      ? failed('token_invalid', rule, 'sub is an id, and no claim says which')
      : passed(rule, `sub is ${claim}`)
  }
  const [, organization, pipeline, ref, commit, step] = subjectForm.exec(sub) ?? []
  if (organization === undefined || pipeline === undefined || ref === undefined || commit === undefined) {
    return failed('token_invalid', rule, `${shown(sub)} is neither organization:…:pipeline:…:ref:… nor an id`)
  }
  const named = {
    organization_slug: organization,
    pipeline_slug: pipeline,
    build_commit: commit,
    // A build of a tag has a branch as well, and then its ref is the tag.
    ...(ref.startsWith('refs/tags/') ? { build_tag: ref.slice('refs/tags/'.length) } : {}),
    ...(ref.startsWith('refs/heads/') ? { build_branch: ref.slice('refs/heads/'.length) } : {}),
    // A step without a key has none in the claim either, in whatever way that is written.
    ...(typeof claims.step_key === 'string' && claims.step_key !== '' ? { step_key: step ?? '' } : {}),
  }
  return disagreement(rule, named, claims) ?? passed(rule, 'sub names the pipeline and its ref, and the claims agree')
}
