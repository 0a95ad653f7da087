import type { EngineDeps } from './deps.ts'
import type { Engine } from './engine.ts'
import { createLeasedUserEngine } from './leased-user.ts'

/** Users of a RabbitMQ broker, with the tags and permissions of their role. */
export const createRabbitmqEngine = (deps: EngineDeps): Engine =>
  createLeasedUserEngine(deps, { kind: 'rabbitmq', idType: 'rabbitmq_user' })
