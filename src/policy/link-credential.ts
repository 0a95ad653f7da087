import { type CredentialPolicy, mintsWith, templateNames } from './credential.ts'
import type { Linker } from './link.ts'

/** What a Credential document must keep to beyond its schema. */
export function checkCredential(credential: CredentialPolicy, linker: Linker): void {
  const { mount, environment } = credential
  const { role } = mintsWith(credential)
  const another =
    linker.first(`environment of ${mount}/${role}: ${environment}`) && !linker.first(`role ${mount}/${role}`)
  if (another) {
    linker.error(
      ['path' in credential ? 'path' : 'role'],
      `\`${mount}/${role}\` is already a credential of another environment`,
      'give each environment a role of its own',
    )
  }
  checkTemplates(credential, linker)
}

/** A placeholder that nothing fills in would reach Vault as it is written. */
function checkTemplates(credential: CredentialPolicy, linker: Linker): void {
  if (!('params' in credential)) return
  for (const [name, value] of Object.entries(credential.params)) {
    for (const text of typeof value === 'string' ? [value] : Array.isArray(value) ? value : []) {
      const unknown = placeholders(text).find((placeholder) => !templateNames.has(placeholder))
      if (unknown === undefined) continue
      const fix = `use ${[...templateNames].map((known) => `{{${known}}}`).join(', ')}`
      linker.error(['params', name], `nothing fills in \`{{${unknown}}}\``, fix)
    }
  }
}

/** The names between double braces; an opening without an end counts as one, so that it is refused too. */
function placeholders(text: string): string[] {
  return text
    .split('{{')
    .slice(1)
    .map((rest) => (rest.includes('}}') ? rest.slice(0, rest.indexOf('}}')) : rest.slice(0, 40)))
}
