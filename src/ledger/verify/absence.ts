import { tilePath, tileWidth } from '../log/tile.ts'
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

const problem = (rule: string, [index]: Range, message: string): Problem => {
  return { rule, message, index, path: pathOf(index) }
}

const pathOf = (index: number): string =>
  tilePath({ level: 'entries', n: Math.floor(index / tileWidth), width: tileWidth })

function namesOf([from, to]: Range): string {
  const [first, last] = [pathOf(from), pathOf(to - 1)]
  return first === last ? `${first} is` : `${first} to ${last} are`
}
