import { randomUUID } from 'node:crypto'
import { errors, importSPKI, type JWTPayload, jwtVerify } from 'jose'
import { type Backend, type Call, type Reply, VaultError } from './backend.ts'
import { commaList, count, flag, seconds, text } from './fields.ts'
import { authOf } from './token-routes.ts'
import type { Tokens } from './tokens.ts'

interface Settings {
  readonly userClaim: string
  readonly audiences: readonly string[]
  readonly subject: string
  readonly policies: readonly string[]
  readonly noDefaultPolicy: boolean
  readonly ttl: number
  readonly maxTtl: number
  readonly explicitMaxTtl: number
  readonly period: number
  readonly uses: number
}

const algorithms = ['ES256', 'ES384', 'ES512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'EdDSA']
// What OpenBao allows where the role says nothing.
const leewaySeconds = 150

function settingsFrom(body: Readonly<Record<string, unknown>>): Settings {
  const audiences = commaList(body.bound_audiences)
  const subject = text(body.bound_subject)
  if (text(body.user_claim) === '') throw new VaultError(400, 'a user claim must be defined on the role')
  if (audiences.length === 0 && subject === '') {
    throw new VaultError(400, 'must have at least one bound constraint when creating/updating a role')
  }
  return {
    userClaim: text(body.user_claim),
    audiences,
    subject,
    policies: commaList(body.token_policies),
    noDefaultPolicy: flag(body.token_no_default_policy, false),
    ttl: seconds(body.token_ttl) ?? 0,
    maxTtl: seconds(body.token_max_ttl) ?? 0,
    explicitMaxTtl: seconds(body.token_explicit_max_ttl) ?? 0,
    period: seconds(body.token_period) ?? 0,
    uses: count(body.token_num_uses),
  }
}

const refused = (why: string): VaultError => new VaultError(400, `error validating token: ${why}`)

/** The auth method JWT, with public keys that the operator gives (`jwt_validation_pubkeys`): config, roles, login. */
export function createJwtAuth(deps: { tokens: Tokens; now: () => number; mountPath: string }): Backend {
  const { tokens, now } = deps
  const roles = new Map<string, Settings>()
  let keys: readonly string[] = []
  let boundIssuer = ''

  async function verified(jwt: string): Promise<JWTPayload> {
    for (const pem of keys) {
      for (const algorithm of algorithms) {
        try {
          const key = await importSPKI(pem, algorithm)
          const options = { algorithms: [algorithm], currentDate: new Date(now()), clockTolerance: leewaySeconds }
          return (await jwtVerify(jwt, key, options)).payload
        } catch (error) {
          if (error instanceof errors.JWTExpired) throw refused('invalid expiration time (exp) claim: token is expired')
        }
      }
    }
    throw refused('error verifying token signature: no known key successfully validated the token signature')
  }

  async function login(call: Call): Promise<Reply> {
    const jwt = text(call.body.jwt)
    const name = text(call.body.role)
    if (name === '') throw new VaultError(400, 'missing role')
    const role = roles.get(name)
    if (role === undefined) throw new VaultError(400, `role ${JSON.stringify(name)} could not be found`)
    if (jwt === '') throw new VaultError(400, 'missing token')
    const claims = await verified(jwt)
    if (boundIssuer !== '' && claims.iss !== boundIssuer) throw refused('invalid issuer (iss) claim')
    if (role.subject !== '' && claims.sub !== role.subject) throw refused('invalid subject (sub) claim')
    const audiences = [claims.aud ?? []].flat()
    if (role.audiences.length > 0 && !role.audiences.some((audience) => audiences.includes(audience))) {
      throw refused('invalid audience (aud) claim: audience claim does not match any expected audience')
    }
    const user = claims[role.userClaim]
    if (typeof user !== 'string')
      throw new VaultError(400, `claim ${JSON.stringify(role.userClaim)} not found in token`)
    const token = tokens.create({
      policies: [...role.policies, ...(role.noDefaultPolicy ? [] : ['default'])],
      meta: { role: name },
      displayName: `${deps.mountPath.slice(0, -1)}-${user}`,
      path: `auth/${deps.mountPath}login`,
      ttlSeconds: role.ttl || role.maxTtl || 2_764_800,
      maxSeconds: role.maxTtl,
      explicitMaxSeconds: role.explicitMaxTtl,
      periodSeconds: role.period,
      renewable: true,
      entityId: randomUUID(),
      uses: role.uses,
    })
    return { auth: authOf(token, now()) }
  }

  return {
    routes: [
      { pattern: 'login', open: true, on: { update: login } },
      {
        pattern: 'config',
        on: {
          update: (call) => {
            const given = call.body.jwt_validation_pubkeys
            keys = Array.isArray(given) ? given.map(String) : [text(given)].filter((pem) => pem !== '')
            boundIssuer = text(call.body.bound_issuer)
            return undefined
          },
        },
      },
      {
        pattern: 'role/:name',
        exists: (call) => roles.has(call.names.name ?? ''),
        on: {
          update: (call) => void roles.set(call.names.name ?? '', settingsFrom(call.body)),
          delete: (call) => void roles.delete(call.names.name ?? ''),
        },
      },
    ],
  }
}
