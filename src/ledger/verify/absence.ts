import { tilePath, tileWidth, widthAt } from '../log/tile.ts'
import type { Problem } from './problem.ts'
import { partsOf, type Range } from './ranges.ts'

/** What absent bundles mean, once it is known which ones the log says were moved elsewhere. */
export interface Absence {
  readonly problems: readonly Problem[]
  /** Entries that were left out on purpose: of them the hashes alone were checked. */
  readonly skipped: number
}

/**
 * An absent bundle is a problem, unless a signed entry says that it was moved and whoever verifies is content with its hashes.
 * `inSegments` says from which entry on the folder has segments.
 */
export function explainAbsence(
  absent: readonly Range[],
  archived: readonly Range[],
  options: { readonly skipArchived: boolean; readonly inSegments: number | undefined },
): Absence {
  const moved = absent.flatMap((range) => partsOf(range, archived).inside)
  const missing = absent.flatMap((range) => partsOf(range, archived).outside)
  const problems = missing.map(([from, to]) => {
    const also = options.inSegments !== undefined && options.inSegments <= from ? ', and segments still hold them' : ''
    return problem('bundle', [from, to], `${namesOf([from, to])} missing (entries ${from} to ${to - 1}${also})`)
  })
  if (options.skipArchived) {
    return { problems, skipped: moved.reduce((sum, [from, to]) => sum + to - from, 0) }
  }
  const where = 'were moved to an archive: --archive DIR names the folder, --skip-archived checks their hashes alone'
  const archives = moved.map(([from, to]) => problem('archive', [from, to], `entries ${from} to ${to - 1} ${where}`))
  return { problems: [...problems, ...archives], skipped: 0 }
}

const problem = (rule: string, range: Range, message: string): Problem => {
  const [index] = range
  return { rule, message, index, path: pathOf(index, range) }
}

/** The bundle that an entry of the range stands in; only the last one of a log ends before it is full. */
function pathOf(index: number, [, to]: Range): string {
  const n = Math.floor(index / tileWidth)
  return tilePath({ level: 'entries', n, width: widthAt(to, 'entries', n) })
}

function namesOf(range: Range): string {
  const [from, to] = range
  const [first, last] = [pathOf(from, range), pathOf(to - 1, range)]
  return first === last ? `${first} is` : `${first} to ${last} are`
}
