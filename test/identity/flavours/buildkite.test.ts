import { describe, expect, it } from 'vitest'
import { judgeSamples, platform, type Sample } from './samples.ts'

const url = 'https://agent.buildkite.com'
const on = platform('buildkite', url)

const job = '0184990a-477b-4fa8-9968-496074483cee'
const pipeline = '0184990a-4782-42b5-afc1-16715b10b1a0'
const commit = '9f3182061f1e2cca4702c368cbc039b7dc9d4485'
const claims = {
  sub: `organization:acme-inc:pipeline:shop:ref:refs/heads/main:commit:${commit}:step:deploy`,
  organization_slug: 'acme-inc',
  pipeline_slug: 'shop',
  build_number: 17,
  build_branch: 'main',
  build_commit: commit,
  step_key: 'deploy',
  job_id: job,
  agent_id: '0184990a-4782-42b5-afc1-16715b10b8ff',
  build_source: 'webhook',
  runner_environment: 'buildkite-hosted',
}
const run = `job/${job}`

const samples: readonly Sample[] = [
  { what: 'a build of a branch', claims, run },
  {
    what: 'one with the ids that were asked for',
    claims: { ...claims, organization_id: 'f892efa9-103e-4d28-97a1-3b8616a0994d', pipeline_id: pipeline },
    run,
  },
  {
    what: 'a tag',
    claims: { ...claims, sub: claims.sub.replace('heads/main', 'tags/v1.0.0'), build_tag: 'v1.0.0' },
    run,
  },
  {
    what: 'a step without a key',
    claims: { ...claims, sub: claims.sub.replace('step:deploy', 'step:'), step_key: null },
    run,
  },
  {
    what: 'a step key with a colon',
    claims: { ...claims, sub: claims.sub.replace('step:deploy', 'step:deploy:eu'), step_key: 'deploy:eu' },
    run,
  },
  {
    what: 'the id of the pipeline as subject',
    claims: { ...claims, sub: pipeline, pipeline_id: pipeline },
    run,
  },
  {
    what: 'session tags for another service, where numbers are text',
    claims: {
      ...claims,
      'https://aws.amazon.com/tags': { principal_tags: { organization_slug: ['acme-inc'] } },
    },
    run,
  },
  {
    what: 'a subject of another pipeline',
    claims: { ...claims, sub: claims.sub.replace('pipeline:shop', 'pipeline:other') },
    refused: /^buildkite.subject: sub says pipeline_slug "other", the claim "shop"$/,
  },
  {
    what: 'a subject of another branch',
    claims: { ...claims, build_branch: 'try' },
    refused: /^buildkite.subject: sub says build_branch "main", the claim "try"$/,
  },
  {
    what: 'an id as subject that no claim says',
    claims: { ...claims, sub: pipeline },
    refused: /^buildkite.subject: sub is an id, and no claim says which$/,
  },
]

describe('tokens as Buildkite signs them', () => judgeSamples(on, url, samples))

describe('buildkite', () => {
  it.each([
    ['organization:acme-inc:pipeline:shop'],
    [`organization:acme-inc:pipeline:shop:ref:refs/heads/main:commit:${commit}`],
    [`organization:Acme:pipeline:shop:ref:refs/heads/main:commit:${commit}:step:x`],
    [`pipeline:shop:organization:acme-inc:ref:refs/heads/main:commit:${commit}:step:x`],
    [`organization:acme-inc:pipeline:shop:ref:refs/heads/a:b:commit:${commit}:step:x`],
    ['9F318206-1F1E-4CCA-8702-C368CBC039B7'],
  ])('%s is no subject', async (sub) => {
    expect(await on.judge({ ...claims, sub })).toMatch(/^buildkite.subject: .* is neither/)
  })

  it.each([
    ['organization_slug', undefined],
    ['pipeline_slug', 'shop/../other'],
    ['pipeline_slug', 7],
    ['job_id', undefined],
    ['job_id', '../1'],
    ['pipeline_id', 'shop'],
    ['organization_id', null],
  ])('%s that is %j is refused', async (name, value) => {
    expect(await on.judge({ ...claims, [name]: value })).toMatch(/^buildkite.ids: /)
  })
})
