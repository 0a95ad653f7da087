import { plainKind } from './kind.ts'

/** A certificate over the caller's SSH key, signed by a role of an ssh mount. */
export const ssh = plainKind('ssh', { public_key: 'required' })
