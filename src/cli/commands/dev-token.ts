import { durationPattern } from '../../base/duration.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { askDevIssuer, devIssuerUrl } from '../dev-issuer.ts'
import { parseOptions } from '../options.ts'

const usage = `
usage: writ dev token --as NAME [--claim NAME=VALUE]… [--ttl 5m] [--issuer URL]

Prints a workload token signed by the issuer of a running writ dev.

  --as NAME           a workload of its policies (checkout), or a member of a team (alice@payments)
  --claim NAME=VALUE  set this claim; a value that is JSON is taken as such, dots in the name lead into maps; may be
                      repeated. Without --as, these are all the token says
  --ttl D             how long it lives (default 5m, or what its issuer allows if that is less)
  --issuer URL        the issuer of writ dev (default http://127.0.0.1:8788)
  --ready-file FILE   take the issuer from the ready file of writ dev instead
  --json              print {"token":…}

examples:
  writ dev token --as checkout
  writ dev token --as alice@payments --ttl 1m
  writ dev token --as checkout --claim aud=https://elsewhere.example.com
  writ dev token --claim iss=https://unknown.example.com --claim sub=nobody
`

/** `writ dev token`: a token of the development issuer. */
export const devTokenCommand: Command = {
  name: 'token',
  summary: 'print a workload token of a running writ dev',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    as: { type: 'string' },
    claim: { type: 'string', multiple: true },
    ttl: { type: 'string' },
    issuer: { type: 'string' },
    'ready-file': { type: 'string' },
    json: { type: 'boolean' },
  })
  if (values.as === undefined && values.claim === undefined) throw new UsageError('--as or --claim is missing')
  if (values.ttl !== undefined && !durationPattern.test(values.ttl)) {
    throw new UsageError('--ttl is a duration such as 30s, 5m or 1h')
  }
  const { iss, ...claims } = Object.fromEntries((values.claim ?? []).map(claimOf))
  const order = {
    ...(values.as === undefined ? {} : { as: values.as }),
    ...(values.ttl === undefined ? {} : { ttl: values.ttl }),
    ...(typeof iss === 'string' ? { iss } : {}),
    claims,
  }
  const { token } = await askDevIssuer(await devIssuerUrl(values.issuer, values['ready-file'], '/dev/token'), order)
  if (typeof token !== 'string') throw new CommandError(exit.fault, 'the development issuer answered without a token')
  if (values.json === true) writeJson(io, { token })
  else io.stdout(`${token}\n`)
  return exit.done
}

// `run_id=7` is text in the tokens of GitHub and a number in JSON; what begins like a map, a list, a quoted text or is a
// plain word of JSON is meant as JSON, and a number is one for the claims that RFC 7519 says are numbers.
const meantAsJson = /^(?:[[{"]|(?:true|false|null)$)/
const numbers: ReadonlySet<string> = new Set(['exp', 'nbf', 'iat', 'auth_time'])

function claimOf(text: string): [string, unknown] {
  const at = text.indexOf('=')
  if (at < 1) throw new UsageError(`--claim takes NAME=VALUE, not ${JSON.stringify(text)}`)
  const [name, value] = [text.slice(0, at), text.slice(at + 1)]
  if (numbers.has(name) && /^-?\d+(?:\.\d+)?$/.test(value)) return [name, Number(value)]
  if (!meantAsJson.test(value)) return [name, value]
  try {
    return [name, JSON.parse(value)]
  } catch {
    return [name, value]
  }
}
