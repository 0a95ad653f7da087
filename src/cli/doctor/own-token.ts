import type { Environment } from '../../config/environment.ts'
import { UsageError } from '../command.ts'
import { chooseSource } from '../token/source.ts'
import { bad, type Finding, good } from './finding.ts'

const check = 'workload token'

/** Where client commands started here would get their token from, and why. No token is asked for or read. */
export async function checkOwnToken(environment: Environment): Promise<Finding> {
  try {
    const source = await chooseSource({ file: undefined, environment, audience: '' })
    return source === undefined
      ? good(check, 'client commands here have none: no variable names one and no platform was recognised')
      : good(check, `client commands here take it from ${source.name}, because ${source.because}`)
  } catch (error) {
    if (error instanceof UsageError) return bad(check, error.message, 'correct WRIT_TOKEN_FROM')
    throw error
  }
}
