import type { IssuerPolicy } from '../issuer.ts'
import type { ClaimRule } from '../match.ts'
import {
  type BreadthProblem,
  type IssuerProblem,
  type MatchLook,
  type Platform,
  textOnly,
  withoutId,
} from './platform.ts'

const deleted = 'names whatever is made under that name after the first one was deleted'
const engine = 'google/compute_engine'
const accounts = '.iam.gserviceaccount.com'

/** ID tokens of Google service accounts and instances (see `identity/flavours/google.ts`). */
export const google: Platform = {
  forms: [],
  recyclable: {
    email: { why: deleted, instead: ['sub'] },
    [`${engine}/instance_name`]: { why: deleted, instead: [`${engine}/instance_id`] },
  },
  pins: [{ labels: ['sub', 'email'] }, { labels: [`${engine}/project_number`] }],
  owns: (url) => url === 'https://accounts.google.com',
  issuer: ofIssuer,
  match: breadth,
}

function ofIssuer({ url, token }: IssuerPolicy): readonly IssuerProblem[] {
  if (url === 'https://accounts.google.com') return withoutId(token, 'Google')
  const message = 'Google signs ID tokens as https://accounts.google.com, so no token fits'
  const fix = 'write url: https://accounts.google.com, unless this is a cloud of its own run on Google software'
  return [{ severity: 'warning', path: ['url'], message, fix }]
}

function breadth({ rules }: MatchLook): readonly BreadthProblem[] {
  const named = new Map(rules.map((rule) => [rule.label.replaceAll('.', '/'), rule]))
  const [sub, email] = [named.get('sub'), named.get('email')]
  const instance = { id: named.get(`${engine}/instance_id`), name: named.get(`${engine}/instance_name`) }
  const project = named.get(`${engine}/project_id`) ?? named.get(`${engine}/project_number`)
  const stable = [sub, instance.id].some((rule) => rule !== undefined && !rule.glob)
  const problems: BreadthProblem[] = [...wrongTypes(rules, named)]
  if (email !== undefined && !stable) problems.push(...emailProblems(email))
  if (instance.name !== undefined && !stable) {
    problems.push(instance.name.glob || project === undefined ? anyInstance(instance.name) : recycled(instance.name))
  }
  if (stable || email !== undefined || instance.name !== undefined) return problems
  if (project !== undefined && !project.glob) return [...problems, wholeProject(project, 'every instance')]
  const fix = 'name the service account by `sub`, or the instance by `google.compute_engine.instance_id`'
  const message = 'the match is so wide that any service account of Google fits'
  return [...problems, { severity: 'error', path: undefined, message, fix }]
}

function emailProblems(email: ClaimRule): readonly BreadthProblem[] {
  const [name = '', domain = ''] = String(email.pattern).split('@')
  if (domain === '' || domain.includes('*') || (name.includes('*') && !domain.endsWith(accounts))) {
    return [
      {
        severity: 'error',
        path: email.path,
        message: 'the match takes in service accounts of any project, and whoever has a project names them',
        fix: 'write the address in full',
      },
    ]
  }
  if (name.includes('*')) return [wholeProject(email, 'every service account')]
  return [
    {
      severity: 'warning',
      path: email.path,
      message: 'the service account is matched by its address, which one made after it was deleted would have, too',
      fix: 'add `sub`, the unique id of the account',
    },
  ]
}

const wholeProject = ({ path }: ClaimRule, what: string): BreadthProblem => ({
  severity: 'warning',
  path,
  message: `${what} of the project is this workload`,
  fix: 'name one by `sub`, unless the project holds one workload only',
})

const anyInstance = ({ path }: ClaimRule): BreadthProblem => ({
  severity: 'error',
  path,
  message: 'the match takes in instances of that name in any project',
  fix: 'name the instance by `google.compute_engine.instance_id`',
})

const recycled = ({ path }: ClaimRule): BreadthProblem => ({
  severity: 'warning',
  path,
  message: 'the instance is matched by its name, which one made after it was deleted would have, too',
  fix: 'name it by `google.compute_engine.instance_id`',
})

/** Google writes the number of a project as a number, and every other id as text. */
function wrongTypes(rules: readonly ClaimRule[], named: ReadonlyMap<string, ClaimRule>): readonly BreadthProblem[] {
  const number = named.get(`${engine}/project_number`)
  const problems: BreadthProblem[] = [...textOnly(rules, 'Google', (label) => label.endsWith('_id'))]
  const sub = named.get('sub')
  if (typeof sub?.pattern === 'number') {
    const message = 'Google writes `sub` as text, which a number never equals'
    problems.push({ severity: 'error', path: sub.path, message, fix: 'put it in quotes' })
  }
  if (number !== undefined && typeof number.pattern !== 'number') {
    const message = 'Google writes `project_number` as a number, which text never equals'
    problems.push({ severity: 'error', path: number.path, message, fix: 'take the quotes away' })
  }
  return problems
}
