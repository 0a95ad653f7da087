import { readTokenFile } from './bearer.ts'
import { fileSign } from './kubernetes.ts'
import type { Platform } from './platform.ts'

/**
 * A JWT-SVID in a file, as the SPIFFE helper writes it. The Workload API itself speaks gRPC, which this command does not:
 * `SPIFFE_ENDPOINT_SOCKET` alone is no sign.
 */
export const spiffe: Platform = {
  name: 'spiffe',
  sign: ({ places }) => fileSign(places.spiffe),
  token: ({ places }) => readTokenFile(places.spiffe),
}
