import { expect } from 'vitest'

const times = { iat: 1_790_000_000, exp: 1_790_000_300, jti: 'one-use' }
const aud = 'https://writ.example.com'

/** Claims as each platform writes them, and what of them pins the workload. */
export const tokens = {
  'github-actions': {
    claims: {
      ...times,
      aud,
      iss: 'https://token.actions.githubusercontent.com',
      sub: 'repo:octo/shop:environment:production',
      repository: 'octo/shop',
      repository_id: '712345678',
      repository_owner: 'octo',
      repository_owner_id: '4567890',
      environment: 'production',
      ref: 'refs/heads/main',
      ref_protected: 'true',
      ref_type: 'branch',
      workflow_ref: 'octo/shop/.github/workflows/deploy.yml@refs/heads/main',
      run_id: '9981',
      run_attempt: '1',
      sha: 'ffac537e6cbbf934b08745a378932722df287a53',
      actor: 'mona',
      actor_id: '5',
    },
    match: {
      repository_id: '712345678',
      repository_owner_id: '4567890',
      environment: 'production',
      ref: 'refs/heads/main',
      ref_protected: 'true',
    },
    warnings: [],
  },
  gitlab: {
    claims: {
      ...times,
      aud,
      iss: 'https://gitlab.com',
      sub: 'project_path:shop/web:ref_type:branch:ref:main',
      project_id: '22',
      project_path: 'shop/web',
      namespace_id: '72',
      namespace_path: 'shop',
      user_id: '1',
      pipeline_id: '574',
      job_id: '302',
      ref: 'main',
      ref_path: 'refs/heads/main',
      ref_type: 'branch',
      ref_protected: 'true',
      environment: 'production',
      environment_protected: 'false',
      runner_id: 1,
      sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
    },
    match: {
      project_id: '22',
      namespace_id: '72',
      environment: 'production',
      ref_path: 'refs/heads/main',
      ref_protected: 'true',
    },
    warnings: [],
  },
  kubernetes: {
    claims: {
      ...times,
      aud: [aud],
      iss: 'https://staging.clusters.example.net',
      sub: 'system:serviceaccount:orders:checkout',
      'kubernetes.io': {
        namespace: 'orders',
        serviceaccount: { name: 'checkout', uid: 'a087d5a0-e1dd-43ec-93ac-f13d89cd13af' },
        pod: { name: 'checkout-7d9f', uid: '2b2b7d8a-1c5e-4d3c-9a39-1f1f0a4b3c2d' },
        node: { name: 'n1', uid: '9b0b7d8a-1c5e-4d3c-9a39-1f1f0a4b3c2d' },
      },
    },
    match: {
      sub: 'system:serviceaccount:orders:checkout',
      'kubernetes.io': { serviceaccount: { uid: 'a087d5a0-e1dd-43ec-93ac-f13d89cd13af' } },
    },
    warnings: [],
  },
  spiffe: {
    claims: { ...times, aud, iss: 'https://spire.example.org', sub: 'spiffe://example.org/ns/orders/sa/checkout' },
    match: { sub: 'spiffe://example.org/ns/orders/sa/checkout' },
    warnings: [],
  },
  google: {
    claims: {
      ...times,
      aud,
      iss: 'https://accounts.google.com',
      sub: '110248495921238986420',
      azp: '110248495921238986420',
      email: 'checkout@shop-prod.iam.gserviceaccount.com',
      email_verified: true,
      google: {
        compute_engine: {
          instance_id: '152986662232938449',
          instance_name: 'checkout-1',
          project_id: 'shop-prod',
          project_number: 739419398126,
          zone: 'europe-west1-b',
          instance_creation_timestamp: 1_789_000_000,
        },
      },
    },
    match: { sub: '110248495921238986420', google: { compute_engine: { project_number: 739419398126 } } },
    warnings: [],
  },
  azure: {
    claims: {
      ...times,
      aud,
      iss: 'https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555/v2.0',
      sub: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
      oid: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
      tid: '11111111-2222-4333-8444-555555555555',
      azp: '99999999-8888-4777-8666-555555555555',
      uti: 'changes',
      ver: '2.0',
    },
    match: { oid: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee', azp: '99999999-8888-4777-8666-555555555555' },
    warnings: [],
  },
  aws: {
    claims: {
      ...times,
      aud,
      iss: 'https://0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9.tokens.sts.global.api.aws',
      sub: 'arn:aws:iam::123456789012:role/checkout',
      'https://sts.amazonaws.com/': {
        aws_account: '123456789012',
        source_region: 'eu-west-1',
        original_session_exp: '2026-11-25T00:00:00Z',
      },
    },
    match: { sub: 'arn:aws:iam::123456789012:role/checkout' },
    warnings: [
      expect.stringContaining('the role is matched by its ARN, which one made after it was deleted would have'),
    ],
  },
  generic: {
    claims: { ...times, aud, iss: 'https://agents.example.net', sub: 'agent-7', session: 'x' },
    match: { sub: 'agent-7' },
    warnings: [expect.stringContaining('`sub` alone is pinned')],
  },
} as const
