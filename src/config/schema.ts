import { z } from 'zod'
import { durationField } from '../contract/fields.ts'

/**
 * The shape of `writ.yaml`. Strict: an unknown key is refused, because a misspelt limit is a limit that is not there.
 * Secrets come by file path, never in this file. Descriptions become docs/config.md.
 */

// The mark tells `settings.ts` which values are resolved against a folder.
const path = z.string().min(1).max(4096).meta({ format: 'path' })

// What follows is in the plan of the file format, so that its names are taken, but not in this version.
const later = (what: string, instead: string) => ({
  message: `${what} is not in this version yet`,
  params: { fix: `use ${instead}` },
})

const httpUrl = z
  .string()
  .max(2048)
  .refine(isHttpUrl, 'an http:// or https:// URL without user, query or fragment, such as https://writ.example.com')

function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password, search, hash } = new URL(text)
  return /^https?:$/.test(protocol) && `${username}${password}${search}${hash}` === ''
}

/** What a verifier key of a witness looks like (type 4); whether its id is right is checked where it is used. */
export const witnessKey = z
  .string()
  .regex(
    /^[^\s+\p{Cc}]{1,255}\+[0-9a-f]{8}\+B[A-P][A-Za-z0-9+/]{42}$/u,
    'the verifier key of a witness: name+id+base64 of type 4, as writ witness keygen prints it',
  )

const tls = z.strictObject({
  cert: path.describe('PEM file with the certificate chain; read again on `SIGHUP`'),
  key: path.describe('PEM file with the private key'),
})

const listen = z.strictObject({
  host: z.string().min(1).max(255).default('127.0.0.1').describe('Address to listen on; `0.0.0.0` or `::` for all'),
  port: z.int().min(0).max(65_535).default(8787).describe('Port to listen on; 0 takes a free one'),
  tls: tls.optional(),
})

const token = z.strictObject({
  method: z.literal('token').describe('How the broker logs in to Vault'),
  tokenFile: path.optional().describe('File with the Vault token; `VAULT_TOKEN` when absent'),
})

const appRole = z.strictObject({
  method: z.literal('approle'),
  mount: z.string().min(1).max(200).default('approle').describe('Path the auth method is mounted at'),
  roleIdFile: path.describe('File with the role id; read at each login'),
  secretIdFile: path.describe('File with the secret id; read at each login, so that it can be rotated'),
})

const unsupportedAuth = z.looseObject({
  method: z.enum(['kubernetes', 'jwt']).refine(() => false, later('this login method', 'approle or token')),
})

const vault = z.strictObject({
  address: httpUrl.describe('Vault or OpenBao; `VAULT_ADDR` means the same'),
  namespace: z.string().min(1).max(512).optional().describe('Namespace; `VAULT_NAMESPACE` means the same'),
  caFile: path
    .optional()
    .describe('PEM file with the authorities to trust instead of the system; `VAULT_CACERT` means the same'),
  timeout: durationField.default('10s').describe('Longest wait for one call to Vault'),
  auth: z
    .discriminatedUnion('method', [token, appRole, unsupportedAuth])
    .describe('How the broker logs in to Vault: `token` or `approle`'),
})

const witness = z
  .strictObject({
    name: z.string().min(1).max(200).optional(),
    url: httpUrl,
    vkey: witnessKey.optional(),
    vkeyFile: path.optional(),
  })
  .refine(
    ({ vkey, vkeyFile }) => (vkey === undefined) !== (vkeyFile === undefined),
    'one of vkey and vkeyFile is needed',
  )

const ledgerFields = z.strictObject({
  kind: z
    .enum(['file', 'redis'])
    .default('file')
    .refine((kind) => kind === 'file', later('kind redis', 'file'))
    .describe('Where the record is kept'),
  dir: path.default('./data/ledger').describe('Folder of the record; one broker at a time'),
  origin: z
    .string()
    .regex(/^[^\s+\p{Cc}]{1,255}$/u, 'a name without spaces and plus signs, such as writ.example.com/ledger')
    .optional()
    .describe('Name of the log in its checkpoints (C2SP); host of `url` and `/ledger` when absent. Never change it'),
  keyFile: path
    .default('./data/ledger.key')
    .describe('File with the key that signs checkpoints, made on first start, mode 0600; `seal.key` stands beside it'),
  previousKeyFile: path
    .optional()
    .describe(
      'File with the key that signed before `keyFile`: it hands the log over, and signs too as long as it is named',
    ),
  anchor: path
    .optional()
    .describe(
      'File on other storage than `dir` that receives each checkpoint; a ledger that does not extend it is refused',
    ),
  archive: path
    .optional()
    .describe(
      'Folder, on cheaper storage perhaps, that `writ ledger archive` moves old entries to; they stay readable',
    ),
  public: z.boolean().default(false).describe('Whether the log is readable without a token'),
  witnesses: z
    .array(witness)
    .max(16)
    .default([])
    .describe('Who cosigns checkpoints: a list of `{ url, vkey }` (or `vkeyFile`; also `name`), see witness.md'),
  quorum: z
    .int()
    .min(0)
    .max(16)
    .default(0)
    .describe('Cosignatures that a checkpoint needs to be published; with 0 it carries as many as there are'),
  witnessTimeout: durationField.default('1s').describe('Longest wait for the cosignatures of a checkpoint'),
})

const ledger = ledgerFields.refine(({ quorum, witnesses }) => quorum <= witnesses.length, {
  path: ['quorum'],
  message: 'greater than the number of witnesses',
})

const state = z.strictObject({
  kind: z
    .enum(['memory', 'redis'])
    .default('memory')
    .refine((kind) => kind === 'memory', later('kind redis', 'memory'))
    .describe('Where grants, limits and replay are counted'),
})

const redis = z.strictObject({
  url: z.string().min(1).max(2048).optional().describe('Redis server; `REDIS_URL` means the same. Not used yet'),
})

const limits = z.strictObject({
  concurrency: z
    .int()
    .min(1)
    .max(100_000)
    .default(256)
    .describe('Requests worked on at once; more are answered 503 with `Retry-After`'),
  requestTimeout: durationField.default('30s').describe('Longest time one request may take'),
  drainTimeout: durationField.default('8s').describe('Longest wait for running requests at shutdown'),
})

const reconcile = z.strictObject({
  every: durationField.default('1m').describe('How often leases in Vault are compared with the ledger'),
  concurrency: z
    .int()
    .min(1)
    .max(64)
    .default(8)
    .describe('Leases that reconciling looks at or ends at once, beside the requests'),
  perSecond: z
    .int()
    .min(1)
    .max(10_000)
    .default(500)
    .describe('Leases that reconciling begins to look at or end within a second'),
})

const policyChange = z.strictObject({
  brake: z
    .strictObject({
      percent: z
        .int()
        .min(0)
        .max(100)
        .default(20)
        .describe(
          'A change of the policies that would end more percent of the live grants waits for an operator; 100 never waits',
        ),
      least: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(10)
        .describe('A change that would end fewer grants than this never waits'),
    })
    .prefault({}),
})

const log = z.strictObject({
  level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('Least severe event that is logged'),
})

/** The file as an operator writes it. `load.ts` turns it into a `Config`. */
export const configSchema = z.strictObject({
  url: httpUrl.optional().describe('Public name of the broker and default audience; from `listen` when absent'),
  listen: listen.prefault({}),
  policies: path.default('./policies').describe('Folder with the policy files'),
  vault: vault,
  ledger: ledger.prefault({}),
  state: state.prefault({}),
  redis: redis.optional(),
  limits: limits.prefault({}),
  reconcile: reconcile.prefault({}),
  policyChange: policyChange.prefault({}),
  log: log.prefault({}),
})
export type ConfigFile = z.output<typeof configSchema>
