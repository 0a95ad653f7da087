/** One thing that is wrong with a log, and where. */
export interface Problem {
  /**
   * What was broken: `checkpoint`, `since`, `resume`, `tile`, `bundle`, `entry`, `canonical`, `schema`, `meaning`, `rotation`,
   * `archive`, `segment`, `root` or `stopped`.
   */
  readonly rule: string
  readonly message: string
  /** The entry. */
  readonly index?: number
  /** The file, below the folder or URL of the log, and the place in it. */
  readonly path?: string
  readonly offset?: number
}

/** The first problems, and how many there are. */
export interface Findings {
  readonly first: readonly Problem[]
  readonly count: number
  add(...problems: readonly Problem[]): void
}

/** Problems that are listed. A hostile log can have as many as it has bytes. */
const mostListed = 100

export function createFindings(): Findings {
  const first: Problem[] = []
  let count = 0
  return {
    first,
    get count() {
      return count
    },
    add(...problems) {
      count += problems.length
      first.push(...problems.slice(0, mostListed - first.length))
    },
  }
}
