import type { CredentialRequest, IssuedCredential } from '../../contract/credential.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import type { BrokerClient } from '../http-client.ts'
import { explainPending, obtain, requestHelp, requestOptions, toRequest } from '../obtain.ts'
import { parseOptions } from '../options.ts'
import { beginReceipt, type ReceiptFile } from '../receipt-file.ts'
import { fieldText, parseMapping, toShell, toVariables } from '../secret-fields.ts'
import { jsonText } from '../terminal.ts'

const usage = `
usage: writ get --purpose P [options]

Fetches one credential and prints it. It stays alive until it expires or is handed back (writ revoke GRANT);
to have it handed back by itself, use writ exec.

${requestHelp}
  --format F          json (default): the whole answer; env: NAME=value lines for a shell; raw:FIELD: one field alone
  --env NAME=field    with --format env: print this field of the secret under this name; may be repeated
  --json              the same as --format json
  --receipt FILE      wait for the receipt, the offline proof that the issuance is on record, and put it into FILE; when there
                      is none in time that is said on stderr, and the credential is printed all the same
${clientHelp}

examples:
  writ get --purpose read-orders
  writ get --purpose read-orders --format raw:password
  writ get --purpose read-orders --receipt issued.proof
  set -a; eval "$(writ get --purpose read-orders --format env --env PGUSER=username --env PGPASSWORD=password)"
  writ get --purpose deploy --credential deploy-ssh --param public_key=@id_ed25519.pub --format raw:signed_key
`

/** `writ get`: fetch a credential and print it. */
export const getCommand: Command = {
  name: 'get',
  summary: 'fetch a credential for a purpose',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values } = parseOptions(args, {
    ...clientOptions,
    ...requestOptions,
    format: { type: 'string' },
    env: { type: 'string', multiple: true },
    receipt: { type: 'string' },
    json: { type: 'boolean' },
  })
  const format = values.format ?? 'json'
  if (!/^(json|env|raw:.+)$/.test(format)) throw new UsageError('--format is json, env or raw:FIELD')
  if (values.json && format !== 'json') throw new UsageError('--json and --format contradict each other')
  if (values.env !== undefined && format !== 'env') throw new UsageError('--env goes with --format env')
  const mapping = parseMapping(values.env ?? [])
  const request = toRequest(values)
  const client = connect(values, io)
  const output = { format, mapping, keyFile: values['dpop-key'] }
  if (values.receipt === undefined) return fetchAndPrint(client, request, values.wait === true, output, io)
  const receipt = await beginReceipt(values.receipt)
  try {
    return await fetchAndPrint(
      client,
      { ...request, receipt: 'wait' },
      values.wait === true,
      { ...output, receipt },
      io,
    )
  } finally {
    await receipt.close()
  }
}

interface Output {
  readonly format: string
  readonly mapping: ReturnType<typeof parseMapping>
  readonly receipt?: ReceiptFile
  readonly keyFile: string | undefined
}

async function fetchAndPrint(
  client: BrokerClient,
  request: CredentialRequest,
  wait: boolean,
  { format, mapping, receipt, keyFile }: Output,
  io: Io,
): Promise<number> {
  const answer = await obtain(client, request, wait, io)
  if ('approval' in answer) {
    if (format === 'json') writeJson(io, answer)
    return explainPending(answer, { ...request, 'dpop-key': keyFile }, io)
  }
  let text: string
  try {
    text = render(answer, format, mapping, io)
  } catch (error) {
    // Nobody will ever use what could not be printed.
    await client.revoke(answer.grant, 'the output format did not fit').catch(() => {})
    throw error
  }
  io.stdout(text)
  await receipt?.keep(answer, client, io)
  return exit.done
}

function render(issued: IssuedCredential, format: string, mapping: ReturnType<typeof parseMapping>, io: Io): string {
  if (format === 'env') return toShell(toVariables(issued, mapping))
  if (format === 'json') return `${jsonText(issued, io.isTty.stdout ? 2 : undefined)}\n`
  const text = fieldText(issued, format.slice('raw:'.length))
  // The exact value for a pipe or a file; a terminal wants its prompt on the next line.
  return io.isTty.stdout && !text.endsWith('\n') ? `${text}\n` : text
}
