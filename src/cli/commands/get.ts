import type { CredentialRequest } from '../../contract/credential.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import type { Destination } from '../formats/destination.ts'
import { type FormatValues, formatOptions, rendering } from '../formats/format.ts'
import { agentOptions, agentRequest, openAgent } from '../formats/ssh-agent.ts'
import { formatHelp, formatNamed, refuseUnfit, refuseUnused } from '../formats/table.ts'
import type { BrokerClient } from '../http-client.ts'
import { credentialsOf, explainPending, obtain, requestHelp, requestOptions, toRequest } from '../obtain.ts'
import { parseOptions } from '../options.ts'
import { beginFile } from '../output-file.ts'
import { beginReceipt, type ReceiptFile } from '../receipt-file.ts'
import { parseMapping } from '../secret-fields.ts'

const usage = `
usage: writ get --purpose P [options]

Fetches one credential and prints it. It stays alive until it expires or is handed back (writ revoke GRANT);
to have it handed back by itself, use writ exec. Each call issues a new one: nothing is kept on this machine.

${requestHelp}
  --format F          in which form; json unless said otherwise
  --env NAME=field    with --format env: print this field of the secret under this name; may be repeated. Of several
                      credentials a field is credential.field, here and with raw:
  --json              the same as --format json
  --out FILE          put it into FILE, mode 0600, instead of printing it; it appears there whole or not at all
  --receipt FILE      wait for the receipt, the offline proof that the issuance is on record, and put it into FILE; when there
                      is none in time that is said on stderr, and the credential is printed all the same
${clientHelp}

${formatHelp}
  ssh-agent           nothing is printed: ssh-add puts the key and its certificate into the running agent, for as long as
                      the certificate lives; signed_key; --identity FILE, the private key. FILE.pub is sent for signing.

examples:
  writ get --purpose read-orders
  writ get --purpose read-orders --format raw:password
  writ get --purpose read-orders --format pgpass --host db --out "$XDG_RUNTIME_DIR/pgpass"
  writ get --purpose migrate --credential orders-rw --credential internal-tls
  writ get --purpose read-orders --receipt issued.proof
  set -a; eval "$(writ get --purpose read-orders --format env --env PGUSER=username --env PGPASSWORD=password)"
  writ get --purpose deploy --credential deploy-ssh --param public_key=@id_ed25519.pub --format raw:signed_key
  writ get --purpose deploy --credential deploy-ssh --format ssh-agent --identity ~/.ssh/id_ed25519
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
    ...formatOptions,
    ...agentOptions,
    format: { type: 'string' },
    env: { type: 'string', multiple: true },
    out: { type: 'string' },
    receipt: { type: 'string' },
    json: { type: 'boolean' },
  })
  const format = values.format ?? 'json'
  if (values.json && format !== 'json') throw new UsageError('--json and --format contradict each other')
  if (values.env !== undefined && format !== 'env') throw new UsageError('--env goes with --format env')
  if (values.identity !== undefined && format !== 'ssh-agent') {
    throw new UsageError('--identity goes with --format ssh-agent')
  }
  const asked = toRequest(format === 'ssh-agent' ? agentRequest(values) : values)
  if (values.receipt !== undefined && Array.isArray(asked.credential))
    throw new UsageError('--receipt keeps one receipt: fetch those of several credentials with writ ledger prove')
  const client = connect(values, io)
  const destination =
    format === 'ssh-agent' ? await openAgent(values, asked, io) : await openText({ ...values, format }, asked, io)
  let receipt: ReceiptFile | undefined
  try {
    if (values.receipt !== undefined) receipt = await beginReceipt(values.receipt)
    const request: CredentialRequest = receipt === undefined ? asked : { ...asked, receipt: 'wait' }
    const output = { json: format === 'json', destination, receipt, keyFile: values['dpop-key'] }
    return await fetchAndDeliver(client, request, values.wait === true, { output, io })
  } finally {
    await receipt?.close()
    await destination.close()
  }
}

interface TextValues extends FormatValues {
  readonly format: string
  readonly env?: string[] | undefined
  readonly out?: string | undefined
}

async function openText(values: TextValues, request: CredentialRequest, io: Io): Promise<Destination> {
  const format = formatNamed('--format', values.format)
  refuseUnused(values, [format])
  refuseUnfit(request, '--format', format)
  const terminal = io.isTty.stdout && values.out === undefined
  const render = rendering(format, { values, mapping: parseMapping(values.env ?? []), terminal })
  const file = values.out === undefined ? undefined : await beginFile(values.out, 0o600)
  return {
    async deliver(issued) {
      const text = render(issued)
      if (file === undefined) return io.stdout(text)
      await file.write(text)
      await file.commit()
    },
    close: async () => file?.abandon().catch(() => {}),
  }
}

async function fetchAndDeliver(
  client: BrokerClient,
  request: CredentialRequest,
  wait: boolean,
  to: {
    readonly output: {
      readonly json: boolean
      readonly destination: Destination
      readonly receipt: ReceiptFile | undefined
      readonly keyFile: string | undefined
    }
    readonly io: Io
  },
): Promise<number> {
  const { output, io } = to
  const answer = await obtain(client, request, wait, io)
  if ('approval' in answer) {
    if (output.json) writeJson(io, answer)
    return explainPending(answer, { ...request, 'dpop-key': output.keyFile }, io)
  }
  try {
    await output.destination.deliver(answer)
  } catch (error) {
    // Nobody will ever use what could not be delivered.
    for (const { grant } of credentialsOf(answer))
      await client.revoke(grant, 'the output format did not fit').catch(() => {})
    throw error
  }
  if (!('credentials' in answer)) await output.receipt?.keep(answer, client, io)
  return exit.done
}
