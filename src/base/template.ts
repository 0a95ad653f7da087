import { BrokerFault } from './errors.ts'

/** The names a template may hold between double braces. */
export const placeholders = ['workload', 'grant', 'purpose', 'environment', 'owner', 'task'] as const
export type Placeholder = (typeof placeholders)[number]

// Nothing here has a meaning in a Vault path, a SQL name, a certificate name, a URI or a shell (invariant 9).
const safeName = /^[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){0,127}$/
const between = /\{\{([^{}]*)\}\}/g

/** Whether a value may take the place of a placeholder: `a-z0-9-_.`, no two dots in a row, at most 128 characters. */
export const isSafeName = (value: string): boolean => safeName.test(value)

/** What is wrong with a template, for the place where policies are loaded; empty when it can always be rendered. */
export function templateProblems(text: string): readonly string[] {
  const problems: string[] = []
  for (const [whole, name = ''] of text.matchAll(between)) {
    if (!(placeholders as readonly string[]).includes(name.trim())) {
      problems.push(`${JSON.stringify(whole)} is not a placeholder; there are ${placeholders.join(', ')}`)
    }
  }
  if (/\{\{\{|\}\}\}/.test(text) || /\{\{|\}\}/.test(text.replace(between, '')))
    problems.push('a double brace has no partner')
  return problems
}

/**
 * Puts names into a template. An empty `task` reads as `none`, because work outside a task has no other name;
 * every other name must be there.
 * @throws BrokerFault `internal` when the template was never checked or a name is outside the safe alphabet
 */
export function renderTemplate(text: string, names: Readonly<Record<Placeholder, string>>): string {
  if (!text.includes('{{') && !text.includes('}}')) return text
  if (templateProblems(text).length > 0) throw new BrokerFault('internal', 'a template holds an unknown placeholder')
  return text.replace(between, (_, name: string) => {
    const key = name.trim() as Placeholder
    const value = key === 'task' && names.task === '' ? 'none' : names[key]
    if (!isSafeName(value)) throw new BrokerFault('internal', `the ${key} is not from the safe alphabet of templates`)
    return value
  })
}
