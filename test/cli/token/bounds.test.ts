import { describe, expect, it } from 'vitest'
import { ask } from '../../../src/cli/token/ask.ts'
import { runTool } from '../../../src/cli/token/run-tool.ts'
import { readEnvironment } from '../../../src/config/environment.ts'
import { runWrit } from '../../support/serve.ts'
import { platformServers, scratch } from './setting.ts'

const serve = platformServers()
const { file, path } = scratch()

describe('asking a platform', () => {
  it('ends at its deadline, when the server says nothing or never finishes', async () => {
    const silent = await serve(() => 'silent')
    const endless = await serve(() => 'endless')
    for (const { url } of [silent, endless]) {
      await expect(ask(new URL(url), { deadlineMs: 200, local: true })).rejects.toThrow('did not answer within 0.2 s')
    }
  })

  it('says why it cannot be done', async () => {
    await expect(ask(new URL('http://127.0.0.1:1/'), {})).rejects.toThrow('it cannot be reached (ECONNREFUSED)')
    await expect(ask(new URL('file:///etc/passwd'), {})).rejects.toThrow('not an http:// or https:// URL')
  })

  it('shows no proxy what is asked of the machine itself', async () => {
    const proxy = await serve(() => [200, 'token.of.proxy'])
    const metadata = await serve(() => [500, ''])
    const env = {
      NODE_USE_ENV_PROXY: '1',
      HTTP_PROXY: proxy.url,
      http_proxy: proxy.url,
      GCE_METADATA_HOST: metadata.host,
      WRIT_URL: 'http://127.0.0.1:1',
    }
    const exit = await runWrit(['get', '--purpose', 'read-orders'], { env })
    expect(exit).toMatchObject({ code: 4, stdout: '' })
    expect(exit.stderr).toContain('it answered 500')
    expect(metadata.asked).toHaveLength(1)
    expect(proxy.asked).toEqual([])
  })
})

describe('a tool of a platform', () => {
  it('is ended at its deadline', async () => {
    file('slow', '#!/bin/sh\nexec sleep 60\n', 0o700)
    const environment = readEnvironment({ PATH: `${path('.')}:/usr/bin:/bin` })
    await expect(runTool('slow', [], environment, 200)).rejects.toThrow('slow did not end within 0.2 s')
  })
})
