import { setTimeout as pause } from 'node:timers/promises'
import type { IssuedCredential } from '../../contract/credential.ts'
import { type DatabaseUser, isRefused, runQuery } from '../../dev/sample-query.ts'
import type { BrokerClient } from '../http-client.ts'
import { ProblemError } from '../problem-error.ts'
import type { EditablePolicies } from './policy-edit.ts'

/** One thing the demo shows. `show` does it for real and says what was seen; a false `ok` fails the demo. */
export interface Scene {
  readonly step: string
  readonly title: string
  show(): Promise<Seen>
}

/** What was seen, for people in words and for programs as facts. Never holds a password. */
export interface Seen {
  readonly ok: boolean
  readonly words: string
  readonly facts?: Readonly<Record<string, unknown>>
}

interface Stage {
  readonly policies: Pick<EditablePolicies, 'dropPurpose'>
  /** A client that presents a fresh token of that workload or person with each call. */
  readonly as: (name: string) => BrokerClient
  readonly databaseUrl: string
}

/** The story of one credential after another, in order; each scene uses what the ones before it left. */
export function story({ as, databaseUrl, policies }: Stage): readonly Scene[] {
  const held = new Map<string, IssuedCredential>()
  const user = (name: string): DatabaseUser => {
    const { username, password } = held.get(name)?.secret ?? {}
    return { url: databaseUrl, username: String(username), password: String(password) }
  }
  const take = async (name: string, request: Parameters<BrokerClient['issue']>[0]): Promise<IssuedCredential> => {
    const answer = await as(name).issue(request)
    if (!('secret' in answer)) throw new Error(`${name} was asked to wait for an approval`)
    held.set(name, answer)
    return answer
  }
  let task = ''

  return [
    {
      step: 'service_start',
      title: 'The service checkout starts and asks for what its purpose names',
      async show() {
        const { grant, expires_at, secret, ledger } = await take('checkout', { purpose: 'read-orders' })
        const orders = await runQuery(user('checkout'), 'SELECT count(*) AS count FROM orders')
        return {
          ok: Number(orders) > 0,
          words: `database user ${String(secret.username)} until ${expires_at}; it reads ${orders} orders; entry ${ledger.index}`,
          facts: { grant, expires_at, orders: Number(orders), ledger_index: ledger.index },
        }
      },
    },
    {
      step: 'refusal',
      title: 'The coding agent asks without saying what for',
      async show() {
        const problem = await problemOf(as('coding-agent').issue({ purpose: 'fix-bug' }))
        return {
          ok: problem?.code === 'task_required',
          words:
            problem === undefined
              ? 'it was not refused'
              : `${problem.status} ${problem.code} (${problem.reasons.join(', ')}). Fix: ${problem.fix}`,
          facts: { status: problem?.status, code: problem?.code, fix: problem?.fix },
        }
      },
    },
    {
      step: 'task_open',
      title: 'It opens a task with a stated intent, and gets a credential that hangs on it',
      async show() {
        const intent = 'Reproduce bug 4711: totals are wrong after a partial refund'
        task = (await as('coding-agent').openTask({ purpose: 'fix-bug', intent, ttl: '30m' })).task
        const { grant, secret } = await take('coding-agent', { purpose: 'fix-bug', task })
        const orders = await runQuery(user('coding-agent'), 'SELECT count(*) AS count FROM orders')
        return {
          ok: true,
          words: `${task}: user ${String(secret.username)} sees ${orders} orders`,
          facts: { task, grant },
        }
      },
    },
    {
      step: 'task_end',
      title: 'The task ends, and its credential with it',
      async show() {
        const { grants } = await as('coding-agent').endTask(task, { outcome: 'corrected' })
        const refused = await isRefused(user('coding-agent'))
        const [first] = grants
        return {
          ok: refused && grants.length === 1 && first?.outcome === 'revoked',
          words: `${first?.outcome} in ${first?.latency_ms} ms; the database ${refused ? 'refuses' : 'STILL ACCEPTS'} that user`,
          facts: { task, revoked_in_ms: first?.latency_ms, login_refused: refused },
        }
      },
    },
    {
      step: 'approval',
      title: 'order-repair wants to write; alice, of the team that owns it, says yes',
      async show() {
        const request = { purpose: 'break-fix', reason: 'Order 42 was charged twice' }
        const pending = await as('order-repair').issue(request)
        if (!('approval' in pending)) return { ok: false, words: 'nobody was asked' }
        const early = await problemOf(as('order-repair').issue({ ...request, approval: pending.approval }))
        await as('alice@payments').decideApproval(pending.approval, 'approve', 'seen the charge')
        const { grant, ttl_capped_by } = await take('order-repair', { ...request, approval: pending.approval })
        return {
          ok: early?.code === 'state_conflict',
          words: `asked ${pending.approvers.join(', ')}; collected as ${grant}; capped by ${ttl_capped_by.join(', ') || 'nothing'}`,
          facts: { approval: pending.approval, approvers: pending.approvers, grant },
        }
      },
    },
    {
      step: 'policy_edit',
      title: 'An edit drops a purpose of nightly-report: what rested on it dies with it, and nothing else does',
      async show() {
        await take('nightly-report', { purpose: 'read-orders' })
        await policies.dropPurpose('nightly-report', 'read-orders')
        const startedMs = performance.now()
        await as('dana@security').reloadPolicies()
        const refused = await within(10_000, () => isRefused(user('nightly-report')))
        const tookMs = Math.round(performance.now() - startedMs)
        const spared = !(await isRefused(user('checkout')))
        const { entries } = await as('dana@security').entries({ kind: 'grant.ending', workload: 'nightly-report' })
        const reason = String(entries[0]?.entry.reason)
        return {
          ok: refused && spared && entries.length === 1,
          words: `${reason}; ${tookMs} ms after the edit the database ${refused ? 'refuses' : 'STILL ACCEPTS'} that user, and ${spared ? 'still lets checkout in' : 'REFUSES checkout, too'}`,
          facts: { reason, refused_after_ms: tookMs, login_refused: refused, other_login_accepted: spared },
        }
      },
    },
    {
      step: 'revocation',
      title: 'dana, of security, pulls the switch on checkout',
      async show() {
        const { matched, grants } = await as('dana@security').revokeMatching({
          match: { workload: 'checkout' },
          reason: 'its image may be compromised',
        })
        const refused = await isRefused(user('checkout'))
        const slowest = Math.max(0, ...grants.map(({ latency_ms }) => latency_ms))
        return {
          ok: refused && matched > 0 && grants.every(({ outcome }) => outcome === 'revoked'),
          words: `${matched} revoked within ${slowest} ms; the database ${refused ? 'refuses' : 'STILL ACCEPTS'} that user`,
          facts: { matched, slowest_ms: slowest, login_refused: refused },
        }
      },
    },
    {
      step: 'who_held_what',
      title: 'dana, as auditor, asks who held what, and on whose authority',
      async show() {
        const { entries } = await as('dana@security').entries({ kind: 'grant.issued' })
        const lines = entries.map(({ entry }) => `${entry.workload} for ${entry.purpose}, owned by ${entry.owner}`)
        return { ok: entries.length === 4, words: lines.join('; '), facts: { issued: entries.length } }
      },
    },
  ]
}

/** Whether it came true in time; asks every 20 ms. */
async function within(mostMs: number, ask: () => Promise<boolean>): Promise<boolean> {
  for (const untilMs = performance.now() + mostMs; ; await pause(20)) {
    if (await ask()) return true
    if (performance.now() > untilMs) return false
  }
}

async function problemOf(call: Promise<unknown>): Promise<ProblemError['problem'] | undefined> {
  try {
    await call
    return undefined
  } catch (error) {
    if (error instanceof ProblemError) return error.problem
    throw error
  }
}
