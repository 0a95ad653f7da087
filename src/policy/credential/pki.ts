import { plainKind } from './kind.ts'

/** A certificate, issued by a role of a pki mount or signed for a request of the caller. */
export const pki = plainKind('pki', { csr: 'optional' })
