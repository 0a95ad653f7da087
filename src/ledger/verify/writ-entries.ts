import { isUtf8 } from 'node:buffer'
import { isCanonical } from '../canonical.ts'
import type { Entry } from '../entry.ts'
import type { EntryCheck } from './entry-check.ts'
import { type Fact, factOf } from './fact.ts'
import type { Problem } from './problem.ts'
import type { Shape } from './shape.ts'
import { createStory, type StoryState } from './story.ts'
import type { Trust } from './trust.ts'

/** Checks entries of writ: of each its form, and the story that they tell together. `trust` grows with the rotations that are read. */
export function createEntryCheck(shape: Shape, trust: Trust, from: StoryState | undefined): EntryCheck {
  const story = createStory(trust, from)
  return {
    async next({ first, path, bytes, spans, base }) {
      const problems: Problem[] = []
      for (let i = 0; i < spans.length; i += 2) {
        const start = spans[i] ?? 0
        const at = { index: first + i / 2, path, offset: base + start }
        const { wrong, fact } = checkForm(bytes.subarray(start, spans[i + 1]), shape)
        for (const { rule, message } of wrong) problems.push({ rule, message: `entry ${at.index}: ${message}`, ...at })
        if (fact !== undefined) problems.push(...story.next(fact, at))
      }
      return problems
    },
    skip: story.skip,
    said: async () => ({ archived: story.archived, learnt: trust.learnt }),
    meaning: async () => story.meaning(),
    close: async () => {},
  }
}

interface Checked {
  readonly wrong: readonly { readonly rule: 'canonical' | 'schema'; readonly message: string }[]
  /** Absent when the schema does not know the entry. */
  readonly fact?: Fact
}

/** Checks that an entry is canonical and of the schema. Attacker-controlled input; never throws. */
function checkForm(payload: Buffer, shape: Shape): Checked {
  const text = payload.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { wrong: [{ rule: 'canonical', message: 'it is not JSON' }] }
  }
  const fault = shape(value)
  const wrong = isUtf8(payload) && survives(text, value) ? [] : [notCanonical]
  if (fault === undefined) return { wrong, fact: factOf(value as Entry) }
  const where = fault === '' ? '' : `: ${fault}`
  return { wrong: [...wrong, { rule: 'schema', message: `it is not an entry this version knows${where}` }] }
}

const notCanonical = { rule: 'canonical', message: 'it is not in canonical form (RFC 8785)' } as const

function survives(text: string, value: unknown): boolean {
  try {
    return isCanonical(text, value)
  } catch {
    // Nested too deeply to be written again.
    return false
  }
}
