/** A record as the labels see it. */
export interface Carrier {
  readonly id: string
  /** Its place among all records of its kind, in the order in which they came. */
  readonly sequence: number
  /** The labels it carries now. */
  labels: LabelSet
  /** The last look at a list that came across it: tells a record that stands there twice. */
  seen: number
}

/** One label. Most leases are carried by one record, and a list of one would weigh more than the record's name. */
interface Label {
  readonly name: string
  /** How many records carry it. */
  count: number
  /**
   * Records that were given it, in that order. One that lost it stands here until the list is cut, and twice if it was given
   * it again. A set would know at once, but growing one holds every request up for the longer the more there are.
   */
  given: Carrier | Carrier[]
}

/** The labels of one record. All records that carry a label share its text. */
export type LabelSet = readonly Label[]

/** Which records carry which labels. */
export interface Labels {
  /** Takes a record from the labels it has to those named; the part they share costs nothing. */
  move(record: Carrier, names: readonly string[]): void
  /** How many records carry the label. */
  count(name: string): number
  /** Records that carry every one of at least one label, in no order. */
  having(names: readonly string[]): readonly Carrier[]
}

export const noLabels: LabelSet = []

// A list is cut when most of it no longer carries the label, so that cutting costs no more than adding did.
const slack = 32

export function createLabels(): Labels {
  const byName = new Map<string, Label>()
  let looks = 0

  const add = (name: string, record: Carrier): Label => {
    const known = byName.get(name)
    if (known === undefined) {
      const label = { name, count: 1, given: record }
      byName.set(name, label)
      return label
    }
    known.count++
    if (Array.isArray(known.given)) known.given.push(record)
    else known.given = [known.given, record]
    return known
  }

  const remove = (label: Label): void => {
    label.count--
    if (label.count === 0) byName.delete(label.name)
    else if (Array.isArray(label.given) && label.given.length > 2 * label.count + slack) label.given = carrying([label])
  }

  /** Records of the first label that carry all of them, each once. */
  const carrying = ([first, ...rest]: readonly Label[]): Carrier[] => {
    if (first === undefined) return []
    looks++
    const found: Carrier[] = []
    for (const record of Array.isArray(first.given) ? first.given : [first.given]) {
      if (record.seen === looks || !record.labels.includes(first)) continue
      record.seen = looks
      if (rest.every((label) => record.labels.includes(label))) found.push(record)
    }
    return found
  }

  return {
    move(record, names) {
      const before = record.labels
      let same = 0
      while (same < names.length && before[same]?.name === names[same]) same++
      if (same === names.length && same === before.length) return
      const kept = before.slice(same).filter(({ name }) => names.includes(name, same))
      const lost = before.slice(same).filter((label) => !kept.includes(label))
      const label = (name: string): Label => kept.find((each) => each.name === name) ?? add(name, record)
      record.labels = [...before.slice(0, same), ...names.slice(same).map(label)]
      for (const each of lost) remove(each)
    },
    count: (name) => byName.get(name)?.count ?? 0,
    having(names) {
      const labels = names.map((name) => byName.get(name)).filter((label) => label !== undefined)
      if (labels.length < names.length) return []
      return carrying(labels.sort((a, b) => a.count - b.count))
    },
  }
}
