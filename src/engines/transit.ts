import { compactVerify } from 'jose'
import { z } from 'zod'
import { BrokerFault } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { renderTemplate } from '../base/template.ts'
import type { EngineDeps } from './deps.ts'
import type { Engine, Minted, MintOrder } from './engine.ts'
import { VaultFault } from './faults.ts'
import { paramsOf, vaultPath } from './target.ts'
import type { PublicVersion, TransitKey, TransitKeys } from './transit-keys.ts'

const params = z.looseObject({
  audience: z.union([z.string(), z.array(z.string())]),
  scope: z.string().optional(),
  bound: z.boolean().default(false),
})
const claimPrefix = 'claim_'

/** How old what the broker knows of a key may be when it signs. */
const signingKeyAgeMs = 60_000

const signed = z.object({ signature: z.string().regex(/^vault:v[0-9]+:[A-Za-z0-9+/_-]{1,2048}={0,2}$/) })

interface TransitDeps extends EngineDeps {
  readonly keys: TransitKeys
  /** `iss` of the tokens: the public URL of the broker. */
  readonly issuer: string | undefined
}

/**
 * Access tokens for one grant (RFC 9068, `typ: at+jwt`), signed by a key of a transit mount: what signs never leaves Vault. `jti` is
 * the grant, so that a token that turns up leads to it. Nothing can end a token early; it is bound (`cnf.jkt`, RFC 9449 section 6.1) to the
 * key that the caller has proved it holds, where it has.
 */
export function createTransitEngine(deps: TransitDeps): Engine {
  const { session, leases, clock, keys } = deps

  async function mint(order: MintOrder): Promise<Minted> {
    const { target, delivery } = order
    if (delivery === 'wrapped')
      throw new BrokerFault('engine_refused', `Credential ${target.credential}: ${notWrapped}`)
    const { mount, role } = target
    if (deps.issuer === undefined) throw new BrokerFault('internal', 'no issuer is set for access tokens')
    const issuedAt = Math.floor(clock.now() / 1000)
    const expiresAt = issuedAt + order.ttlSeconds
    const claims = { ...claimsOf(order, deps.issuer), iat: issuedAt, exp: expiresAt }
    const key = await keys.get(mount, role, signingKeyAgeMs)
    const token = await sign(mount, role, key, claims).catch((thrown: unknown) => {
      // The version that is known may be one that Vault no longer signs with.
      keys.forget(mount, role)
      throw thrown
    })
    return {
      secret: new Secret({ access_token: token, token_type: order.holder === undefined ? 'Bearer' : 'DPoP' }),
      handle: undefined,
      expiresAtMs: expiresAt * 1000,
      renewable: false,
      publicIds: [{ type: 'jwt_id', value: order.grant }],
    }
  }

  /** JWS compact serialization (RFC 7515 section 7.1): the library that reads it has no way to sign with a key that is elsewhere. */
  async function sign(mount: string, role: string, key: TransitKey, claims: object): Promise<string> {
    const { signing } = key
    const input = `${base64url({ typ: 'at+jwt', alg: key.alg, kid: signing.kid })}.${base64url(claims)}`
    const path = vaultPath(mount, 'sign', role)
    const { data } = await session.write(path, {
      input: Buffer.from(input).toString('base64'),
      key_version: signing.version,
      hash_algorithm: key.hash,
      signature_algorithm: 'pkcs1v15',
      marshaling_algorithm: 'jws',
    })
    const parsed = signed.safeParse(data)
    if (!parsed.success) throw new VaultFault('unreadable', `POST ${path}: the answer holds no signature`)
    // Of RSA and Ed25519 Vault writes standard base64, of ECDSA what a JWS takes.
    const signature = Buffer.from(parsed.data.signature.split(':')[2] ?? '', 'base64').toString('base64url')
    const token = `${input}.${signature}`
    if (!(await isGood(token, key.alg, signing)))
      throw new VaultFault(
        'unreadable',
        `POST ${path}: the signature is not by the version of the key that was asked for`,
      )
    return token
  }

  return {
    kind: 'transit',
    revocable: () => false,
    acceptedParams: [],
    mint,
    renew: leases.renew,
    revoke: (handle) => leases.revoke(handle, 10_000),
    leases: async () => undefined,
    lookUp: leases.lookUp,
    needs: ({ mount, role }) => [
      { path: `${mount}/sign/${role}`, capability: 'update' },
      { path: `${mount}/keys/${role}`, capability: 'read' },
    ],
  }
}

const notWrapped = 'the broker puts the token together, so there is nothing for Vault to wrap'

/** @throws BrokerFault `request_invalid` when the Credential is for callers with a key only, and this one has proved none */
function claimsOf({ target, names, grant, holder }: MintOrder, issuer: string): Readonly<Record<string, unknown>> {
  const { audience, scope, bound, ...rest } = paramsOf(params, target)
  if (bound && holder === undefined)
    throw new BrokerFault(
      'request_invalid',
      `${target.credential} is bound to a key: send a DPoP proof with the request`,
    )
  const further = Object.entries(rest)
    .filter(([name]) => name.startsWith(claimPrefix))
    .map(([name, text]) => [name.slice(claimPrefix.length), renderTemplate(String(text), names)])
  const { workload, purpose, environment, owner, task } = names
  return {
    ...Object.fromEntries(further),
    iss: issuer,
    sub: workload,
    client_id: workload,
    aud: audience,
    jti: grant,
    ...(scope !== undefined && { scope }),
    workload,
    purpose,
    environment,
    owner,
    ...(task !== '' && { task }),
    ...(holder !== undefined && { cnf: { jkt: holder.jkt } }),
  }
}

const base64url = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

const isGood = (token: string, alg: string, { key }: PublicVersion): Promise<boolean> =>
  compactVerify(token, key, { algorithms: [alg] }).then(
    () => true,
    () => false,
  )
