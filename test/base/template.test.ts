import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { isSafeName, placeholders, renderTemplate, templateProblems } from '../../src/base/template.ts'

const names = {
  workload: 'checkout',
  grant: 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3',
  purpose: 'read-orders',
  environment: 'prod',
  owner: 'payments',
  task: '',
}

describe('templates', () => {
  test('each placeholder becomes its name; work outside a task reads as none', () => {
    expect(renderTemplate('spiffe://x/{{workload}}/{{ grant }}', names)).toBe(`spiffe://x/checkout/${names.grant}`)
    expect(renderTemplate('{{task}}', names)).toBe('none')
    expect(renderTemplate('no braces $& $1', names)).toBe('no braces $& $1')
  })

  test.each(['{{secret}}', '{{ }}', '{{workload', 'workload}}', '{{{workload}}}', '{{work{{load}}'])(
    '%s is reported when policies are loaded and refused when rendered',
    (text) => {
      expect(templateProblems(text)).not.toEqual([])
      expect(() => renderTemplate(text, names)).toThrow(BrokerFault)
    },
  )

  test.each([
    '../x',
    'a/b',
    'A',
    'a b',
    'a"b',
    "a'b",
    'a\nb',
    'a\u202eb',
    'a%2fb',
    '{{grant}}',
    'a..b',
    '-a',
    '',
    'é',
    'a'.repeat(129),
  ])('the name %j is outside the safe alphabet and is never put into a template', (workload) => {
    expect(isSafeName(workload)).toBe(false)
    expect(() => renderTemplate('{{workload}}', { ...names, workload })).toThrow(BrokerFault)
  })

  test('whatever the names, what is rendered holds only safe characters, or nothing is rendered', () => {
    const anyText = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.stringMatching(/^[a-z0-9._-]*$/))
    fc.assert(
      fc.property(fc.constantFrom(...placeholders), anyText, (placeholder, value) => {
        let rendered: string
        try {
          rendered = renderTemplate(`<{{${placeholder}}}>`, { ...names, [placeholder]: value })
        } catch {
          return
        }
        expect(rendered).toMatch(/^<[a-z0-9][a-z0-9_.-]*>$/)
        expect(rendered).not.toContain('..')
      }),
    )
  })

  test('a template without problems always renders with safe names', () => {
    const part = fc.oneof(fc.string(), fc.constantFrom(...placeholders.map((name) => `{{${name}}}`)))
    fc.assert(
      fc.property(fc.array(part), (parts) => {
        const text = parts.join('')
        if (templateProblems(text).length === 0) expect(renderTemplate(text, names)).not.toMatch(/\{\{|\}\}/)
      }),
    )
  })
})
