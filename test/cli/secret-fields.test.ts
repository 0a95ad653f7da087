import { expect, test } from 'vitest'
import { parseMapping, toVariables } from '../../src/cli/secret-fields.ts'
import type { IssuedCredential } from '../../src/contract/credential.ts'

const issued = (secret: Record<string, unknown>): IssuedCredential => ({
  grant: 'gr_00000000000000000000000000',
  workload: 'checkout',
  purpose: 'read-orders',
  credential: 'vendor-api-key',
  environment: 'prod',
  issued_at: '2026-11-22T12:00:00.000Z',
  expires_at: '2026-11-22T12:15:00.000Z',
  ttl_capped_by: [],
  renewable: false,
  revocable: false,
  delivery: 'plain',
  secret,
  ledger: { index: 1, receipt: '/v1/ledger/entries/1/receipt' },
})

test('every field goes under its own name in upper case, beside the grant and its end', () => {
  expect(toVariables(issued({ username: 'u', 'api-key': 'k' }), [])).toEqual({
    USERNAME: 'u',
    API_KEY: 'k',
    WRIT_GRANT: 'gr_00000000000000000000000000',
    WRIT_EXPIRES_AT: '2026-11-22T12:15:00.000Z',
  })
})

test.each([
  'path',
  'ld_preload',
  'LD_LIBRARY_PATH',
  'dyld-insert-libraries',
  'node_options',
  'bash_env',
  'env',
  'ifs',
  'prompt_command',
  'pythonstartup',
  'perl5opt',
  'rubyopt',
  'java_tool_options',
  'git_ssh_command',
  'writ_token_file',
  'ssl_cert_file',
  'http_proxy',
  'gconv.path',
])('whoever can write the secret cannot choose what runs: a field named %s sets no variable by itself', (field) => {
  expect(() => toVariables(issued({ username: 'u', [field]: '/tmp/evil' }), [])).toThrow(
    /would change what programs run/,
  )
})

test('a variable that the caller names is the caller’s choice', () => {
  expect(toVariables(issued({ path: '/x' }), parseMapping(['PATH=path', 'WRIT_TOKEN=path']))).toMatchObject({
    PATH: '/x',
  })
})
