import { startDevVault } from '../../src/dev/vault/server.ts'
import { engineContract } from '../contract/engine.contract.ts'

engineContract('the development server', () => startDevVault())
