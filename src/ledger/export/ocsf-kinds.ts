import { codes } from '../../base/codes.ts'
import type { Entry } from '../entry.ts'

/** What an event says besides what every event says. `undefined` attributes are left out when it is written. */
export interface OcsfDetails {
  /** `class_uid`. */
  readonly eventClass: number
  /** `activity_id` and `activity_name`. */
  readonly activity: readonly [id: number, name: string]
  readonly [attribute: string]: unknown
}

/** `class_uid` of the classes in use. */
const classes = {
  complianceFinding: 2003,
  authentication: 3002,
  authorizeSession: 3003,
  entityManagement: 3004,
  userAccess: 3005,
  applicationLifecycle: 6002,
  apiActivity: 6003,
} as const

const success = { status_id: 1, status: 'Success' } as const
const failure = { status_id: 2, status: 'Failure' } as const
const otherStatus = (status: string) => ({ status_id: 99, status })

/** Class, activity and attributes of an entry by its kind: the table in docs/export.md, in code. */
export function ocsfDetailsOf(entry: Entry): OcsfDetails {
  switch (entry.kind) {
    case 'broker.started':
      return lifecycle(entry, [3, 'Start'])
    case 'broker.stopped':
      return { ...lifecycle(entry, [4, 'Stop']), status_detail: entry.cause }
    case 'policy.loaded':
      return { ...managed(entry, [3, 'Update'], policySet(entry)), ...success }
    case 'policy.refused':
      return {
        ...managed(entry, [3, 'Update'], policySet(entry)),
        ...failure,
        status_detail: entry.problems.join('; '),
      }
    case 'policy.held':
      return { ...managed(entry, [12, 'Suspend'], policySet(entry)), ...otherStatus('Pending'), count: entry.would_end }
    case 'policy.accepted':
      return { ...managed(entry, [13, 'Resume'], policySet(entry)), ...success, count: entry.would_end }
    case 'request.denied':
      return denied(entry)
    case 'grant.intent': {
      const session = { uid: entry.grant, issuer: 'writ' }
      return {
        eventClass: classes.authorizeSession,
        activity: [1, 'Assign Privileges'],
        ...success,
        actor: actorOf(entry),
        user: subjectOf(entry),
        privileges: privilegesOf(entry),
        session,
        status_detail: entry.reason,
      }
    }
    case 'grant.issued':
      return {
        ...access(entry, [1, 'Assign Privileges'], success),
        user: {
          ...subjectOf(entry),
          programmatic_credentials: entry.ids.map(({ type, value }) => ({ type, uid: value })),
        },
        resources: resourcesOf(entry, entry.data, entry.sensitivity),
      }
    case 'composite.issued':
      return { ...managed(entry, [10, 'Activate'], thing('composite', entry.composite)), ...success }
    case 'grant.failed':
      return {
        ...access(entry, [1, 'Assign Privileges'], entry.ambiguous ? otherStatus('Ambiguous') : failure),
        status_code: entry.code,
        status_detail: entry.detail,
      }
    case 'grant.renewed':
      return access(entry, [99, 'Renew Privileges'], success)
    case 'grant.shortened':
      return { ...access(entry, [99, 'Shorten Privileges'], success), status_detail: entry.reason }
    case 'grant.ending':
      return {
        ...access(entry, [2, 'Revoke Privileges'], otherStatus('Pending')),
        status_code: entry.cause,
        status_detail: entry.reason,
      }
    case 'grant.ended':
      return {
        ...access(entry, [2, 'Revoke Privileges'], endings[entry.outcome]),
        status_code: entry.cause,
        status_detail: entry.detail,
        duration: entry.latency_ms,
      }
    case 'approval.requested':
      return { ...approval(entry, [1, 'Create']), comment: entry.reason }
    case 'approval.granted':
      return { ...approval(entry, entry.complete ? [10, 'Activate'] : [3, 'Update']), comment: entry.reason }
    case 'approval.denied':
      return { ...approval(entry, [11, 'Deactivate']), comment: entry.reason }
    case 'approval.expired':
    case 'approval.used':
      return approval(entry, [11, 'Deactivate'])
    case 'task.opened':
      return { ...managed(entry, [1, 'Create'], thing('task', entry.task)), ...success, comment: entry.intent }
    case 'task.ended':
      return {
        ...managed(entry, [11, 'Deactivate'], thing('task', entry.task)),
        ...success,
        status_code: entry.cause,
        status_detail: entry.outcome,
      }
    case 'revocation.ordered':
      return {
        ...managed(entry, [1, 'Create'], thing('revocation', entry.revocation)),
        ...success,
        status_code: entry.match,
        comment: entry.reason,
      }
    case 'revocation.completed':
      return {
        ...managed(entry, [11, 'Deactivate'], thing('revocation', entry.revocation)),
        ...success,
        duration: entry.latency_ms,
      }
    case 'revocation.lifted':
      return {
        ...managed(entry, [3, 'Update'], thing('revocation', entry.revocation)),
        ...success,
        comment: entry.reason,
      }
    case 'signal.received':
      return {
        eventClass: classes.apiActivity,
        activity: [3, 'Update'],
        ...success,
        actor: actorOf(entry),
        api: { operation: `signal ${entry.signal}` },
        status_code: entry.effect,
        src_endpoint: { name: entry.source },
      }
    case 'review.attested':
      return {
        ...managed(entry, [3, 'Update'], thing('purpose', entry.purpose ?? entry.workload)),
        ...success,
        status_code: entry.verdict,
        comment: entry.reason,
      }
    case 'finding.opened':
      return { ...finding(entry, [1, 'Create']), status_id: 1, status: 'New', status_detail: entry.detail }
    case 'finding.closed':
      return { ...finding(entry, [3, 'Close']), status_id: 4, status: 'Resolved' }
    case 'reconcile.completed':
      return {
        eventClass: classes.apiActivity,
        activity: [2, 'Read'],
        ...(entry.failed === 0 ? success : failure),
        actor: actorOf(entry),
        api: { operation: `reconcile${entry.dry_run ? ' (dry run)' : ''}` },
        src_endpoint: { name: entry.trigger },
        status_detail: `${entry.leases} leases, ${entry.orphans} orphans, ${entry.foreign} of others, ${entry.gone} gone`,
        duration: entry.latency_ms,
      }
    case 'config.changed':
      return {
        ...managed(entry, [3, 'Update'], thing('setting', entry.setting)),
        ...success,
        status_detail: entry.detail,
      }
    case 'config.key_rotated':
      return { ...managed(entry, [3, 'Update'], thing('ledger key', entry.new_key)), ...success }
    case 'config.archived':
      return {
        ...managed(entry, [5, 'Move'], thing('ledger entries', `${entry.from} to ${entry.to}`)),
        ...success,
        status_detail: entry.destination,
      }
    case 'config.ledger_repaired':
      return { ...managed(entry, [3, 'Update'], thing('ledger', 'ledger')), ...success }
  }
}

type Activity = OcsfDetails['activity']
type Of<Kind extends Entry['kind']> = Extract<Entry, { kind: Kind }>

const endings: Readonly<Record<Of<'grant.ended'>['outcome'], { status_id: number; status: string }>> = {
  revoked: success,
  expired: success,
  gone: success,
  failed: failure,
  irrevocable: failure,
  expires_only: otherStatus('Expires only'),
}

/** A token that was not believed is a failed logon, a purpose that was not opened a failed authorisation, the rest a failed call. */
function denied(entry: Of<'request.denied'>): OcsfDetails {
  const refused = {
    ...failure,
    actor: actorOf(entry),
    status_code: entry.code,
    status_detail: entry.rules.find(({ ok }) => !ok)?.rule,
    count: 1 + (entry.suppressed ?? 0),
  }
  if (codes[entry.code].status === 401) {
    return {
      eventClass: classes.authentication,
      activity: [1, 'Logon'],
      ...refused,
      user: subjectOf(entry),
      service: { name: 'writ' },
      auth_protocol_id: 4,
      auth_protocol: 'OpenID',
      is_remote: true,
    }
  }
  if (entry.purpose !== undefined || entry.credential !== undefined) {
    return {
      eventClass: classes.authorizeSession,
      activity: [1, 'Assign Privileges'],
      ...refused,
      user: subjectOf(entry),
      privileges: privilegesOf(entry),
    }
  }
  return {
    eventClass: classes.apiActivity,
    activity: [0, 'Unknown'],
    ...refused,
    api: {
      operation: 'request',
      response: { error: entry.code },
      ...(entry.request !== undefined && { request: { uid: entry.request } }),
    },
    src_endpoint: { name: entry.workload ?? 'unknown' },
  }
}

function access(entry: Entry, activity: Activity, status: { status_id: number; status: string }): OcsfDetails {
  return {
    eventClass: classes.userAccess,
    activity,
    ...status,
    actor: actorOf(entry),
    user: subjectOf(entry),
    privileges: privilegesOf(entry),
  }
}

const lifecycle = (entry: Entry, activity: Activity): OcsfDetails => ({
  eventClass: classes.applicationLifecycle,
  activity,
  ...success,
  app: { name: 'writ', ...('version' in entry && { version: entry.version }) },
})

const managed = (entry: Entry, activity: Activity, entity: object): OcsfDetails => ({
  eventClass: classes.entityManagement,
  activity,
  actor: actorOf(entry),
  entity,
})

const policySet = ({ policy }: Entry) => ({ type_id: 5, type: 'Policy', policy: { name: 'policies', uid: policy } })

const thing = (type: string, uid: string | undefined) => ({ type_id: 99, type, uid: uid ?? 'unknown' })

const approval = (entry: Entry, activity: Activity): OcsfDetails => ({
  ...managed(entry, activity, thing('approval', entry.approval)),
  ...success,
})

function finding(entry: Of<'finding.opened' | 'finding.closed'>, activity: Activity): OcsfDetails {
  return {
    eventClass: classes.complianceFinding,
    activity,
    finding_info: { uid: entry.finding, title: entry.finding, product: { name: 'writ' } },
    compliance: { control: entry.finding },
  }
}

/** Whose privileges it is about: the workload, else whoever acted. */
function subjectOf(entry: Entry): object {
  if (entry.workload !== undefined) return { name: entry.workload, type_id: 4, type: 'Service' }
  return userOf(entry.actor) ?? { name: 'unknown', type_id: 0, type: 'Unknown' }
}

const actorOf = ({ actor }: Entry): object => {
  const user = userOf(actor)
  return user === undefined ? { app_name: 'writ' } : { user }
}

function userOf(actor: Entry['actor']): object | undefined {
  switch (actor.type) {
    case 'workload':
      return { name: actor.name, uid: actor.subject, domain: actor.issuer, type_id: 4, type: 'Service' }
    case 'person':
      return {
        name: actor.subject,
        uid: actor.subject,
        domain: actor.issuer,
        type_id: 1,
        type: 'User',
        groups: actor.teams.map((name) => ({ name })),
      }
    case 'unproved':
      return { name: 'unproved', domain: actor.issuer, type_id: 0, type: 'Unknown' }
    case 'broker':
      return undefined
  }
}

/** Never empty, because the schema asks for privileges even of an entry that names none. */
const privilegesOf = ({ credential, purpose }: Entry): readonly string[] => [credential ?? purpose ?? 'unknown']

function resourcesOf(entry: Entry, data: readonly string[], sensitivity: string): readonly object[] {
  const owner = entry.owner === undefined ? undefined : { name: entry.owner }
  return [
    { type: 'credential', name: entry.credential ?? 'unknown', owner, criticality: sensitivity },
    ...data.map((name) => ({ type: 'data', name, owner })),
  ]
}
