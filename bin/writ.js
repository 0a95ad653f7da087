#!/usr/bin/env node
// Runs the sources where they are (a checkout), else the published build.
import { existsSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `writ needs Node 22.18 or newer and this is ${process.version}. In a checkout, \`npx writ\` uses the Node pinned in devDependencies.`,
  )
  process.exit(1)
}
// Compiled code is kept beside the dependencies, where only those who may change the code can write; where they cannot
// either, nothing is kept. It halves the start and spares the memory of the type stripper.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/writ', import.meta.url)))
const source = new URL('../src/cli/main.ts', import.meta.url)
const { main } = await import(existsSync(source) ? source.href : new URL('../dist/cli/main.js', import.meta.url).href)
process.exitCode = await main(process.argv.slice(2))
