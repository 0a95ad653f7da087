import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import { CommandError, exit, type Io } from './command.ts'
import { printable } from './terminal.ts'

/** Reads the configuration for a command and prints warnings. @throws CommandError (usage) listing every problem. */
export function requireConfig(file: string | undefined, io: Io): Config {
  const loaded = loadConfig({ file: file ?? io.environment.configFile, environment: io.environment })
  if (!loaded.ok) {
    const lines = loaded.refusal.map(({ where, message, fix }) => `  ${where}: ${message}\n    fix: ${fix}`)
    throw new CommandError(exit.usage, `the configuration has ${count(lines.length)}:\n${lines.join('\n')}`)
  }
  for (const warning of loaded.value.warnings) io.stderr(`writ: warning: ${printable(warning)}\n`)
  return loaded.value.config
}

const count = (problems: number): string => (problems === 1 ? 'a problem' : `${problems} problems`)
