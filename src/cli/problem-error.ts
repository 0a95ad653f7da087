import type { Problem } from '../contract/problem.ts'

/** The broker said no, in its own words (RFC 9457). The exit status follows from `problem.code`. */
export class ProblemError extends Error {
  readonly problem: Problem
  /** From `Retry-After`, when the broker sent one. */
  readonly retryAfterSeconds: number | undefined

  constructor(problem: Problem, retryAfterSeconds?: number) {
    super(problem.title)
    this.name = 'ProblemError'
    this.problem = problem
    this.retryAfterSeconds = retryAfterSeconds
  }
}
