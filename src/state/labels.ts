/** One label: a single id, or a set once there are more. Most leases are carried by one record, and a set weighs ten ids. */
interface Label {
  readonly name: string
  ids: string | Set<string>
}

/** The labels of one record. All records that carry a label share its text. */
export type LabelSet = readonly Label[]

/** Which records carry which labels. */
export interface Labels {
  /** Takes a record from the labels it had to those it has now, and returns them; the part they share costs nothing. */
  move(id: string, before: LabelSet, after: readonly string[]): LabelSet
  drop(id: string, labels: LabelSet): void
  /** How many records carry the label. */
  count(name: string): number
  /** Records that carry every one of at least one label, in no order. */
  having(names: readonly string[]): Iterable<string>
}

export const noLabels: LabelSet = []

export function createLabels(): Labels {
  const byName = new Map<string, Label>()

  const add = (name: string, id: string): Label => {
    const known = byName.get(name)
    if (known === undefined) {
      const label = { name, ids: id }
      byName.set(name, label)
      return label
    }
    if (typeof known.ids !== 'string') known.ids.add(id)
    else if (known.ids !== id) known.ids = new Set([known.ids, id])
    return known
  }
  const remove = (label: Label, id: string): void => {
    if (typeof label.ids === 'string') {
      if (label.ids === id) byName.delete(label.name)
      return
    }
    label.ids.delete(id)
    if (label.ids.size === 0) byName.delete(label.name)
  }

  return {
    move(id, before, after) {
      let same = 0
      while (same < after.length && before[same]?.name === after[same]) same++
      if (same === after.length && same === before.length) return before
      for (const label of before.slice(same)) if (!after.includes(label.name)) remove(label, id)
      return [...before.slice(0, same), ...after.slice(same).map((name) => add(name, id))]
    },
    drop(id, labels) {
      for (const label of labels) remove(label, id)
    },
    count: (name) => countOf(byName.get(name)),
    *having(names) {
      const labels = names.map((name) => byName.get(name)).sort((a, b) => countOf(a) - countOf(b))
      const [rarest, ...rest] = labels
      if (rarest === undefined || labels.includes(undefined)) return
      const ids = typeof rarest.ids === 'string' ? [rarest.ids] : rarest.ids
      for (const id of ids) if (rest.every((label) => carries(label, id))) yield id
    },
  }
}

const countOf = (label: Label | undefined): number =>
  label === undefined ? 0 : typeof label.ids === 'string' ? 1 : label.ids.size

const carries = (label: Label | undefined, id: string): boolean =>
  label !== undefined && (typeof label.ids === 'string' ? label.ids === id : label.ids.has(id))
