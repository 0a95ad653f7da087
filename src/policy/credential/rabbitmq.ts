import { plainKind } from './kind.ts'

/** A user of a RabbitMQ broker, made by a role of a rabbitmq mount. */
export const rabbitmq = plainKind('rabbitmq')
