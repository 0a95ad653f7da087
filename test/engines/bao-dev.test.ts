import { describe } from 'vitest'
import { engineContract } from '../contract/engine.contract.ts'
import { baoAvailable, startBao } from '../support/bao.ts'

describe.skipIf(!baoAvailable())('needs bao or vault on PATH', () => {
  engineContract('a real server in dev mode', () => startBao({ mode: 'dev' }))
})
