import { checked, meantFor, noToken } from './bearer.ts'
import type { Platform } from './platform.ts'

const tag = 'TFC_WORKLOAD_IDENTITY_AUDIENCE_WRIT'

/** A run of HCP Terraform or Terraform Enterprise, whose workspace asks for tokens by variables (developer.hashicorp.com). */
export const terraform: Platform = {
  name: 'terraform',
  sign: async ({ environment: { platform } }) =>
    platform.terraform === undefined ? undefined : `${platform.terraform.variable} is set`,
  async token({ environment, audience }) {
    const fix = `set the environment variable ${tag} of the workspace to ${audience}`
    const found = environment.platform.terraform
    if (found === undefined) throw noToken('HCP Terraform gave no identity token', fix)
    return meantFor(checked(found.token.reveal(), found.variable), audience, found.variable, fix)
  },
}
