import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // The slow files wait for servers more than they compute, so even two processors need not keep one for the runner itself.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
})
