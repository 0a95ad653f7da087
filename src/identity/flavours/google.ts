import { type Finding, failed, passed, shown } from '../check.ts'
import { member } from '../claim.ts'
import type { Claim, Claims } from '../identity.ts'
import type { Flavour } from './flavour.ts'

const digits = /^[0-9]{1,32}$/
const project = /^[a-z0-9:.-]{1,100}$/
const accountDomain = '.gserviceaccount.com'

/**
 * ID tokens of Google service accounts, those of Compute Engine instances among them (cloud.google.com, "Verify VM identity").
 * Google signs ID tokens of people with the same keys, so a token must be that of a service account: the party it was issued to
 * (`azp`) is its subject. An `email` must be verified and that of a service account. The instance is the run.
 */
export const google: Flavour = {
  name: 'google',
  types: ['jwt'],
  check(claims) {
    const { google: place } = claims
    const account = [subject(claims), email(claims), holder(claims)]
    return place === undefined ? account : [...account, instance(member(place, 'compute_engine'))]
  },
  run({ google: place }) {
    const id = member(member(place, 'compute_engine'), 'instance_id')
    return isId(id) ? `instance/${id}` : undefined
  },
}

const isId = (value: unknown): value is string => typeof value === 'string' && digits.test(value)

function subject({ sub }: Claims): Finding {
  return isId(sub)
    ? passed('google.subject', 'sub is the number of an account')
    : failed('token_invalid', 'google.subject', `${shown(sub)} is not the number of an account`)
}

function email({ email: address, email_verified: verified }: Claims): Finding {
  const rule = 'google.email'
  if (address === undefined) return passed(rule, 'there is none')
  if (typeof address !== 'string' || !isAccount(address)) {
    return failed('token_invalid', rule, `${shown(address)} is not a service account`)
  }
  return verified === true
    ? passed(rule, 'it is that of a service account, and verified')
    : failed('token_invalid', rule, `email_verified is ${shown(verified)}, not true`)
}

function isAccount(address: string): boolean {
  const [name = '', domain = '', ...more] = address.split('@')
  return name !== '' && more.length === 0 && domain.endsWith(accountDomain) && domain.length > accountDomain.length
}

/** People get tokens through an application, which is the `azp` of theirs; a service account gets its own. */
function holder({ azp, sub, email: address }: Claims): Finding {
  const rule = 'google.holder'
  const own = azp !== undefined && (azp === sub || azp === address)
  return own
    ? passed(rule, 'a service account holds its own token')
    : failed('token_invalid', rule, `azp ${shown(azp)} is not the account itself, as that of a service account is`)
}

function instance(engine: Claim | undefined): Finding {
  const rule = 'google.instance'
  const id = member(engine, 'instance_id')
  if (!isId(id)) return failed('token_invalid', rule, `the instance_id ${shown(id)} is not a number as text`)
  const [name, number] = [member(engine, 'project_id'), member(engine, 'project_number')]
  if (typeof name !== 'string' || !project.test(name)) {
    return failed('token_invalid', rule, `${shown(name)} is not the id of a project`)
  }
  return typeof number === 'number' && Number.isSafeInteger(number) && number > 0
    ? passed(rule, 'it names an instance and its project')
    : failed('token_invalid', rule, `${shown(number)} is not the number of a project`)
}
