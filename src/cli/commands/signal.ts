import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { messageOf } from '../../base/errors.ts'
import {
  type SetError,
  type SignalName,
  setErrorSchema,
  setMediaType,
  signalPath,
  streamEvents,
  subjectEvents,
} from '../../contract/signal.ts'
import { parseJson } from '../broker-call.ts'
import { type Command, CommandError, exit, type Io, UsageError, writeJson } from '../command.ts'
import { brokerUrl } from '../connect.ts'
import { askDevIssuer, devIssuerUrl } from '../dev-issuer.ts'
import { parseOptions } from '../options.ts'
import { signSet } from '../sign-set.ts'

const usage = `
usage: writ signal --event NAME --subject SUBJECT [--url URL] [--from ISSUER]
       writ signal --event NAME --subject URL/SUB --key-file FILE --from URL [--audience NAME] [--kid ID]
       writ signal --set-file FILE

Sends one security event token (SSF, RFC 8935) and prints what the broker answers: to try a receiver out. It is signed by
the issuer of a running writ dev, or with a key of your own that the Issuer document of --from publishes.

  --event NAME        ${Object.keys(subjectEvents).join(', ')},
                      or ${Object.keys(streamEvents).join(', ')}, which have no subject
  --subject SUBJECT   whom it is about: a workload or a team member of writ dev (checkout, alice@payments), or
                      ISSUER/SUB, where ISSUER is the url of an Issuer, or its name with writ dev
  --from ISSUER       the Issuer that sends it: its url, or its name with writ dev (default there: one that speaks for
                      the subject)
  --payload JSON      laid over the payload of the event, such as '{"change_type":"create"}'
  --key-file FILE     private key, PEM (PKCS #8) or JWK, that signs instead of writ dev
  --kid ID            name of that key in the header (default: what a JWK says)
  --audience NAME     whom the signal is for (default: the broker's URL)
  --set-file FILE     send this token as it is, such as one that was printed before
  --print             print the token and send nothing
  --url URL           the broker (default: WRIT_URL)
  --issuer URL        the issuer of writ dev (default http://127.0.0.1:8788)
  --ready-file FILE   take the issuer from the ready file of writ dev instead
  --json              one document

Exit status 4 when the broker does not know the sender or its signature, 3 when it refuses the signal for another reason.

examples:
  writ signal --event session-revoked --subject checkout
  writ signal --event account-disabled --subject people/alice@payments
  writ signal --event session-revoked --subject https://idp.example.com/00u1 --from https://idp.example.com --key-file key.pem
`

/** `writ signal`: a security event token, sent for testing. */
export const signalCommand: Command = {
  name: 'signal',
  summary: 'send a security event token, to try the receiver out',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    event: { type: 'string' },
    subject: { type: 'string' },
    from: { type: 'string' },
    payload: { type: 'string' },
    'key-file': { type: 'string' },
    kid: { type: 'string' },
    audience: { type: 'string' },
    'set-file': { type: 'string' },
    print: { type: 'boolean' },
    url: { type: 'string' },
    issuer: { type: 'string' },
    'ready-file': { type: 'string' },
    json: { type: 'boolean' },
  })
  const set = values['set-file'] === undefined ? await makeSet(values, io) : await readSet(values['set-file'])
  if (values.print === true) {
    if (values.json === true) writeJson(io, { set })
    else io.stdout(`${set}\n`)
    return exit.done
  }
  const answer = await push(brokerUrl(values.url, io), set)
  if (values.json === true) writeJson(io, answer)
  else if (answer.err === undefined) io.stdout(`${answer.status}: the signal is taken\n`)
  else io.stdout(`${answer.status} ${answer.err}: ${answer.description}\n`)
  return exitOf(answer)
}

type Values = Partial<
  Record<
    'event' | 'subject' | 'from' | 'payload' | 'key-file' | 'kid' | 'audience' | 'url' | 'issuer' | 'ready-file',
    string | undefined
  >
>

async function makeSet(values: Values, io: Io): Promise<string> {
  const { subject, from } = values
  const event = eventOf(values.event)
  if (subject === undefined && Object.hasOwn(subjectEvents, event)) throw new UsageError('--subject is missing')
  const payload = payloadOf(values.payload)
  if (values['key-file'] === undefined) {
    const order = { event, subject, from, payload }
    const { set } = await askDevIssuer(await devIssuerUrl(values.issuer, values['ready-file'], '/dev/signal'), order)
    if (typeof set !== 'string') throw new CommandError(exit.fault, 'the development issuer answered without a token')
    return set
  }
  if (from === undefined) throw new UsageError('--from is missing: the url of the Issuer whose key this is')
  return signSet({
    keyFile: values['key-file'],
    kid: values.kid,
    order: {
      event,
      iss: from,
      audience: values.audience ?? brokerUrl(values.url, io),
      nowMs: io.clock.now(),
      ...(subject === undefined ? {} : { subject: splitSubject(subject, from) }),
      ...(payload === undefined ? {} : { payload }),
    },
  })
}

function eventOf(name: string | undefined): SignalName {
  if (name === undefined) throw new UsageError('--event is missing')
  const known = { ...subjectEvents, ...streamEvents }
  if (Object.hasOwn(known, name)) return name as SignalName
  throw new UsageError(`--event is one of ${Object.keys(known).join(', ')}`)
}

function payloadOf(text: string | undefined): Record<string, z.core.util.JSONType> | undefined {
  if (text === undefined) return undefined
  try {
    return z.record(z.string(), z.json()).parse(JSON.parse(text))
  } catch {
    throw new UsageError('--payload is a JSON object')
  }
}

/** The issuer's own url in front counts; else the last slash parts the two, which a `sub` with slashes in it needs `--from` for. */
function splitSubject(text: string, from: string): { iss: string; sub: string } {
  if (text.startsWith(`${from}/`)) return { iss: from, sub: text.slice(from.length + 1) }
  const slash = text.lastIndexOf('/')
  const iss = text.slice(0, Math.max(0, slash))
  if (!URL.canParse(iss)) throw new UsageError('--subject is ISSUER/SUB, ISSUER being a url')
  return { iss, sub: text.slice(slash + 1) }
}

async function readSet(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (cause) {
    throw new CommandError(exit.fault, `${path} cannot be read: ${messageOf(cause)}`)
  }
}

interface PushAnswer extends Partial<SetError> {
  readonly status: number
}

async function push(url: string, set: string): Promise<PushAnswer> {
  let response: Response
  let text: string
  try {
    response = await fetch(`${url}${signalPath}`, {
      method: 'POST',
      headers: { 'content-type': setMediaType, accept: 'application/json' },
      body: set,
      redirect: 'error',
      signal: AbortSignal.timeout(30_000),
    })
    text = await response.text()
  } catch (cause) {
    throw new CommandError(exit.unavailable, `${url} cannot be reached`, 'check WRIT_URL and the network', { cause })
  }
  const { status } = response
  if (status === 202) return { status }
  if (status === 503) throw new CommandError(exit.unavailable, `${url} answered 503`, 'try again')
  const error = status === 400 ? setErrorSchema.safeParse(parseJson(text)) : undefined
  if (error?.success === true) return { status, ...error.data }
  throw new CommandError(exit.fault, `${url} answered ${status}, and not as a receiver of signals does`)
}

function exitOf({ err }: PushAnswer): number {
  if (err === undefined) return exit.done
  return err === 'access_denied' || err === 'invalid_request' ? exit.refused : exit.unauthenticated
}
