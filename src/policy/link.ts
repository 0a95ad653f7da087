import { nearest } from '../base/nearest.ts'
import type { LinkedPolicies } from './compile.ts'
import { type Condition, compileCondition } from './condition.ts'
import type { CredentialPolicy } from './credential.ts'
import type { ExceptionPolicy } from './exception.ts'
import type { GuardrailPolicy } from './guardrail.ts'
import type { IssuerPolicy } from './issuer.ts'
import { checkCredential } from './link-credential.ts'
import { checkException, checkGuardrail, checkIssuer, checkTeam } from './link-others.ts'
import { checkWorkload } from './link-workload.ts'
import type { Kind, PolicyDocument } from './schema.ts'
import type { TeamPolicy } from './team.ts'
import type { WorkloadPolicy } from './workload.ts'

/** Where a document came from. */
interface DocumentSource {
  readonly file: string
  /** Position among the documents of the file, from 0. */
  readonly at: number
}

/** A problem with one part of one document; its line and column are worked out later. */
export interface LinkProblem {
  readonly source: DocumentSource
  readonly path: readonly (string | number)[]
  /** Characters into the text at `path`. */
  readonly offset: number
  readonly severity: 'error' | 'warning'
  readonly message: string
  readonly fix: string
}

/** One document with its source. */
export interface SourcedDocument<D extends PolicyDocument = PolicyDocument> {
  readonly source: DocumentSource
  readonly document: D
}

/** The documents of each kind by name; the first of two with one name. */
interface Registry {
  readonly Issuer: ReadonlyMap<string, SourcedDocument<IssuerPolicy & PolicyDocument>>
  readonly Team: ReadonlyMap<string, SourcedDocument<TeamPolicy & PolicyDocument>>
  readonly Credential: ReadonlyMap<string, SourcedDocument<CredentialPolicy & PolicyDocument>>
  readonly Workload: ReadonlyMap<string, SourcedDocument<WorkloadPolicy & PolicyDocument>>
  readonly Exception: ReadonlyMap<string, SourcedDocument<ExceptionPolicy & PolicyDocument>>
  readonly Guardrail: ReadonlyMap<string, SourcedDocument<GuardrailPolicy & PolicyDocument>>
}

/** What a check of one document may ask and say. */
export interface Linker {
  readonly registry: Registry
  error(path: readonly (string | number)[], message: string, fix: string, offset?: number): void
  warn(path: readonly (string | number)[], message: string, fix: string): void
  /** Reports a name that no document of that kind has, with the nearest one that exists. */
  refer(kind: Kind, name: string, path: readonly (string | number)[]): boolean
  /** Compiles a condition once for all documents that hold the same text. */
  condition(text: string, path: readonly (string | number)[]): void
  /** Whether some team lists a person with this subject. */
  knows(subject: string): boolean
  /** Whether some Exception relaxes the rule for this purpose, whatever its end. */
  excepted(rule: ExceptionPolicy['relaxes'], workload: string, purpose: string): boolean
  /** How many workloads that are not retired name the credential. */
  users(credential: string): number
  /** True the first time a key is seen in this load. */
  first(key: string): boolean
}

/**
 * Resolves every reference and compiles every condition; reports all problems, not the first only. `broken` names documents
 * that exist and could not be read.
 */
export async function link(
  documents: readonly SourcedDocument[],
  broken: ReadonlySet<string>,
  pace: () => Promise<void> | undefined,
): Promise<{
  readonly problems: readonly LinkProblem[]
  readonly linked: Omit<LinkedPolicies, 'digest' | 'warnings'>
}> {
  const problems: LinkProblem[] = []
  const registry = register(documents, problems)
  const conditions = new Map<string, Condition>()
  await pace()
  const linkerFor = linkers(registry, broken, conditions, problems)
  await pace()
  for (const { source, document } of documents) {
    check(document, linkerFor(source))
    await pace()
  }
  const listed = <D extends PolicyDocument>(map: ReadonlyMap<string, SourcedDocument<D>>): D[] =>
    [...map.values()].map(({ document }) => document)
  return {
    problems,
    linked: {
      issuers: listed(registry.Issuer),
      teams: listed(registry.Team),
      credentials: listed(registry.Credential),
      workloads: listed(registry.Workload),
      exceptions: listed(registry.Exception),
      guardrails: listed(registry.Guardrail),
      conditions,
    },
  }
}

function check(document: PolicyDocument, linker: Linker): void {
  switch (document.kind) {
    case 'Issuer':
      checkIssuer(document, linker)
      break
    case 'Team':
      checkTeam(document, linker)
      break
    case 'Credential':
      checkCredential(document, linker)
      break
    case 'Workload':
      checkWorkload(document, linker)
      break
    case 'Exception':
      checkException(document, linker)
      break
    case 'Guardrail':
      checkGuardrail(document, linker)
      break
  }
}

function register(documents: readonly SourcedDocument[], problems: LinkProblem[]): Registry {
  const maps: Record<Kind, Map<string, SourcedDocument>> = {
    Issuer: new Map(),
    Team: new Map(),
    Credential: new Map(),
    Workload: new Map(),
    Exception: new Map(),
    Guardrail: new Map(),
  }
  for (const sourced of documents) {
    const { kind, name } = sourced.document
    const before = maps[kind].get(name)
    if (before === undefined) maps[kind].set(name, sourced)
    else {
      problems.push({
        source: sourced.source,
        path: ['name'],
        offset: 0,
        severity: 'error',
        message: `there is another ${kind} named \`${name}\` in ${before.source.file}`,
        fix: 'give one of them another name',
      })
    }
  }
  // Filed by `kind`, which is what tells the types apart.
  return maps as unknown as Registry
}

function linkers(
  registry: Registry,
  broken: ReadonlySet<string>,
  conditions: Map<string, Condition>,
  problems: LinkProblem[],
): (source: DocumentSource) => Linker {
  const people = new Set(
    [...registry.Team.values()].flatMap(({ document }) => document.members.map(({ subject }) => subject)),
  )
  const seen = new Set<string>()
  const exceptions = new Set(
    [...registry.Exception.values()].map(
      ({ document: { relaxes, workload, purpose } }) => `${relaxes} ${workload}/${purpose}`,
    ),
  )
  const users = usersOf(registry)
  return (source) => {
    const error: Linker['error'] = (path, message, fix, offset = 0) => {
      problems.push({ source, path, offset, severity: 'error', message, fix })
    }
    return {
      registry,
      error,
      warn: (path, message, fix) => problems.push({ source, path, offset: 0, severity: 'warning', message, fix }),
      refer(kind, name, path) {
        if (registry[kind].has(name)) return true
        if (broken.has(`${kind} ${name}`)) return false
        // Guessing costs a comparison with every name, so it stops where there are too many to read anyway.
        const guess = registry[kind].size > 1000 ? undefined : nearest(name, [...registry[kind].keys()])
        error(
          path,
          `there is no ${kind} named \`${name}\``,
          guess === undefined ? `add a ${kind} document of that name` : `did you mean \`${guess}\`?`,
        )
        return false
      },
      condition(text, path) {
        if (conditions.has(text)) return
        const compiled = compileCondition(text)
        if (compiled.ok) conditions.set(text, compiled.condition)
        else
          error(
            path,
            `the condition is not valid: ${compiled.problem.message}`,
            compiled.problem.fix,
            compiled.problem.offset,
          )
      },
      excepted: (rule, workload, purpose) => exceptions.has(`${rule} ${workload}/${purpose}`),
      users: (credential) => users.get(credential)?.size ?? 0,
      knows: (subject) => people.has(subject),
      first: (key) => seen.size < seen.add(key).size,
    }
  }
}

function usersOf(registry: Registry): ReadonlyMap<string, ReadonlySet<string>> {
  const users = new Map<string, Set<string>>()
  for (const { document } of registry.Workload.values()) {
    if (document.status === 'retired') continue
    for (const credential of document.purposes.flatMap(({ credentials }) => credentials)) {
      const names = users.get(credential) ?? new Set()
      users.set(credential, names.add(document.name))
    }
  }
  return users
}
