import type { MintTarget } from '../engines/engine.ts'
import type { Grant } from './grant.ts'
import { targetLabel } from './registry.ts'

/** A mount and role that some Credential names, and whether the broker alone may use it. */
export interface Reconcilable {
  /** Name of the Credential document. */
  readonly name: string
  readonly target: MintTarget
  readonly exclusive: boolean
}

/** One role of a mount, whose leases are compared with the ledger. */
export interface Source {
  /** See `targetLabel`. */
  readonly label: string
  readonly engine: string
  readonly mount: string
  readonly role: string
  /** Names of the Credentials that lead there, or led there while this process knew them. */
  readonly credentials: readonly string[]
  /** One of each Credential: their parameters differ. */
  readonly targets: readonly [MintTarget, ...MintTarget[]]
  /** Every one of them says that the broker alone uses the role. */
  readonly exclusive: boolean
}

export interface Sources {
  /** The roles that the policies name, and those that only grants still hang on; `held` has one grant of each of these. */
  now(held: ReadonlyMap<string, Grant>): readonly Source[]
  /** The role a grant was minted from. */
  of(grant: Grant): Source
}

/** A Credential that is dropped while grants of it live is remembered, so that what it said of its role still holds. */
export function createSources(credentials: () => readonly Reconcilable[]): Sources {
  let remembered: ReadonlyMap<string, Source> = new Map()

  function named(): Map<string, Source> {
    const found = new Map<string, Source>()
    for (const [label, [first, ...rest]] of Map.groupBy(credentials(), ({ target }) => targetLabel(target))) {
      if (first !== undefined) found.set(label, sourceOf(label, first, rest))
    }
    return found
  }
  const orphaned = (label: string, grant: Grant): Source => remembered.get(label) ?? unnamed(label, grant)

  return {
    now(held) {
      const found = named()
      for (const [label, grant] of held) if (!found.has(label)) found.set(label, orphaned(label, grant))
      remembered = found
      return [...found.values()]
    },
    of(grant) {
      const label = targetLabel(grant.target)
      return named().get(label) ?? orphaned(label, grant)
    },
  }
}

function sourceOf(label: string, first: Reconcilable, rest: readonly Reconcilable[]): Source {
  const all = [first, ...rest]
  const { engine, mount, role } = first.target
  return {
    label,
    engine,
    mount,
    role,
    credentials: all.map(({ name }) => name),
    targets: [first.target, ...rest.map(({ target }) => target)],
    exclusive: all.every(({ exclusive }) => exclusive),
  }
}

/** Whether others use a role whose Credential nobody remembers is not known, so what they may have is left alone. */
function unnamed(label: string, grant: Grant): Source {
  const { engine, mount, role } = grant.target
  const target: MintTarget = { credential: grant.credential, engine, mount, role, params: {} }
  return { label, engine, mount, role, credentials: [], targets: [target], exclusive: false }
}
