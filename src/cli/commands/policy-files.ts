import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../base/errors.ts'
import type { PolicySet } from '../../policy/compile.ts'
import { loadPolicies, type PolicyProblem, problemText } from '../../policy/load.ts'
import { schemas } from '../../policy/schema.ts'
import { runTestCases } from '../../policy/testcases.ts'
import { type Command, CommandError, exit, type Io, writeJson } from '../command.ts'
import { parseOptions } from '../options.ts'
import { jsonText, printable } from '../terminal.ts'

const json = { json: { type: 'boolean' } } as const
const defaultDir = './policies'

/** The set below a folder; problems are printed, and the command ends with status 1. */
export async function loadOrReport(dir: string, io: Io, asJson: boolean): Promise<PolicySet | undefined> {
  const result = await loadPolicies(dir)
  if (result.ok) return result.set
  report(result.problems, io, asJson)
  return undefined
}

function report(problems: readonly PolicyProblem[], io: Io, asJson: boolean): void {
  if (asJson) writeJson(io, { ok: false, problems })
  else
    io.stderr(
      problems
        .map((problem) => `${problem.severity === 'error' ? '' : 'warning: '}${printable(problemText(problem))}\n`)
        .join(''),
    )
  const errors = problems.filter(({ severity }) => severity === 'error').length
  if (!asJson) io.stderr(`${counted(errors, 'problem')}\n`)
}

const counted = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`

export const policyCheckCommand: Command = {
  name: 'check',
  summary: 'find every problem in a folder of policies',
  usage: `
usage: writ policy check [DIR] [--strict] [--json]

Reads every policy below DIR (default ${defaultDir}) as the broker would, and prints each problem as
\`file:line:col: message, fix\`.

  --strict  warnings fail, too
  --json    print {"ok","digest","workloads","warnings"} or {"ok":false,"problems"}

Exit status: 0 the broker would load them, 1 it would not, 2 usage.
`,
  async run(args, io) {
    const { values, positionals } = parseOptions(args, { ...json, strict: { type: 'boolean' } }, ['[DIR]'])
    const set = await loadOrReport(positionals[0] ?? defaultDir, io, values.json === true)
    if (set === undefined) return exit.fault
    const { digest, workloadCount, warnings } = set
    const failed = values.strict === true && warnings.length > 0
    if (values.json) writeJson(io, { ok: !failed, digest, workloads: workloadCount, warnings })
    else {
      io.stderr(warnings.map((warning) => `warning: ${printable(problemText(warning))}\n`).join(''))
      const counts = [
        counted(workloadCount, 'workload'),
        counted(set.credentials.length, 'credential'),
        counted(set.guardrails.length, 'guardrail'),
        counted(set.exceptions.length, 'exception'),
        counted(warnings.length, 'warning'),
      ]
      io.stdout(`${counts.join(', ')}\npolicies ${digest}\n`)
    }
    return failed ? exit.fault : exit.done
  },
}

export const policyTestCommand: Command = {
  name: 'test',
  summary: 'run the test cases of a folder of policies',
  usage: `
usage: writ policy test [DIR] [--tests DIR] [--json]

Makes the decision of every case in DIR/tests/*.yaml (claims and a request) and compares it with what the case expects.

  --tests DIR  test cases that are elsewhere
  --json       print {"ok","passed","failed":[{"file","name","differences"}]}

Exit status: 0 every case passed, 1 one did not or a file cannot be read, 2 usage.
`,
  async run(args, io) {
    const { values, positionals } = parseOptions(args, { ...json, tests: { type: 'string' } }, ['[DIR]'])
    const dir = positionals[0] ?? defaultDir
    const asJson = values.json === true
    const set = await loadOrReport(dir, io, asJson)
    if (set === undefined) return exit.fault
    const run = await runTestCases(set, values.tests ?? join(dir, 'tests'))
    if (!run.ok) {
      report(run.problems, io, asJson)
      return exit.fault
    }
    const failed = run.results.filter(({ differences }) => differences.length > 0)
    const passed = run.results.length - failed.length
    if (asJson) {
      const shown = failed.map(({ file, name, differences }) => ({ file, name, differences }))
      writeJson(io, { ok: failed.length === 0, passed, failed: shown })
    } else {
      for (const { file, name, differences } of failed) {
        io.stderr(
          `FAIL ${printable(file)}: ${printable(name)}\n${differences.map((line) => `     ${printable(line)}\n`).join('')}`,
        )
      }
      io.stdout(`${passed} passed, ${failed.length} failed\n`)
    }
    if (run.results.length === 0)
      throw new CommandError(exit.fault, 'there are no test cases', `write some in ${join(dir, 'tests')}`)
    return failed.length === 0 ? exit.done : exit.fault
  },
}

export const policySchemaCommand: Command = {
  name: 'schema',
  summary: 'print or write the JSON Schemas of policy files',
  usage: `
usage: writ policy schema [--write DIR]

Prints the JSON Schema (draft 2020-12) of every kind of policy file, by file name; editors complete with them through a
first line such as \`# yaml-language-server: $schema=../schema/workload.json\`.

  --write DIR  write one file for each kind instead, and policy.json for any of them
`,
  async run(args, io) {
    const { values } = parseOptions(args, { write: { type: 'string' }, ...json })
    const dir = values.write
    if (dir === undefined) {
      io.stdout(`${jsonText(Object.fromEntries(schemas()), 2)}\n`)
      return exit.done
    }
    try {
      await mkdir(dir, { recursive: true })
      for (const [file, schema] of schemas()) await writeFile(join(dir, file), `${jsonText(schema, 2)}\n`)
    } catch (error) {
      throw new CommandError(exit.fault, `${printable(dir)} cannot be written: ${messageOf(error)}`)
    }
    if (values.json) writeJson(io, { written: [...schemas().keys()] })
    else io.stderr(`${schemas().size} files in ${printable(dir)}\n`)
    return exit.done
  },
}
