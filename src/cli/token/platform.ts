import type { Environment } from '../../config/environment.ts'

/** What a platform is looked for in, and what a token is asked for. */
export interface Setting {
  readonly environment: Environment
  /** Audience of the token, where the platform lets it be chosen. */
  readonly audience: string
  readonly places: Places
}

/** Where platforms leave what they leave in files. */
export interface Places {
  /** A Kubernetes `projected` volume with a `serviceAccountToken` source for the audience of the broker. */
  readonly kubernetes: string
  /** A JWT-SVID that the SPIFFE helper keeps fresh. */
  readonly spiffe: string
  /** What the firmware says of the machine. */
  readonly dmi: string
}

/** One platform that gives workloads tokens; one file each. */
export interface Platform {
  readonly name: string
  /** What says that this is the platform, as the end of "because …"; `undefined` when nothing does. Asks no network. */
  sign(setting: Setting): Promise<string | undefined>
  /** The token, anew each time. @throws CommandError (not authenticated); the message never holds any of the token. */
  token(setting: Setting): Promise<string>
}
