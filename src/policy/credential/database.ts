import { plainKind } from './kind.ts'

/** A user of a database, made by a role of a database mount. */
export const database = plainKind('database')
