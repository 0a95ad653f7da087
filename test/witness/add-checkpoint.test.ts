import { describe, expect, it } from 'vitest'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { parseSkey, parseVkey, signNote, splitNote, verifySignatures } from '../../src/ledger/log/note.ts'
import { addCheckpoint } from '../../src/witness/add-checkpoint.ts'
import { testKey } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { bodyOf, withWitness, witnessKey } from '../support/witness.ts'
import vectors from '../vectors/witness.json' with { type: 'json' }

const { sigsum, monkeys } = vectors
const witness = parseWitnessVkey(witnessKey.vkey)
const hash = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)

const logOf = (...leaves: string[]) => {
  const log = memoryLog()
  log.append(...leaves)
  return log
}

describe('a witness (C2SP tlog-witness)', () => {
  it('answers every request of a published script as it says', () =>
    withWitness([sigsum.vkey], async ({ send, deps }) => {
      for (const { what, old, proof, note, status, ...rest } of sigsum.steps) {
        const answer = await send({ from: old, proof: proof.map((line) => Buffer.from(line, 'base64')), note })
        expect(answer, what).toMatchObject({ status, ...rest })
        if (answer.status !== 200) continue
        const text = note.slice(0, note.indexOf('\n\n') + 1)
        expect(cosignaturesOf(`${text}\n${answer.cosignature}`, [witness])).toEqual([
          { name: 'witness.test', timeMs: deps.clock.now() },
        ])
      }
      expect(deps.store.latest(parseVkey(sigsum.vkey).name)?.size).toBe(5)
    }))

  it('follows a log of another implementation from five entries to eight', () =>
    withWitness([monkeys.vkey], async ({ send }) => {
      const proof = monkeys.proof5to8.map((line) => Buffer.from(line, 'base64'))
      expect(await send({ from: 0, proof: [], note: monkeys.size5 })).toMatchObject({ status: 200 })
      expect(await send({ from: 2, proof, note: monkeys.size8 })).toEqual({ status: 409, size: 5 })
      expect(await send({ from: 5, proof: proof.map(() => hash(1)), note: monkeys.size8 })).toMatchObject({
        status: 422,
      })
      expect(await send({ from: 5, proof, note: monkeys.size8 })).toMatchObject({ status: 200 })
      expect(await send({ from: 8, proof, note: monkeys.size5 })).toMatchObject({ status: 400 })
    }))

  it('takes the empty tree, then anything after it without a proof', () =>
    withWitness([testKey.vkey], async ({ send }) => {
      const log = logOf()
      const empty = log.sign(testKey)
      expect(await send({ from: 0, proof: [hash(1)], note: empty })).toMatchObject({ status: 422 })
      expect(await send({ from: 0, proof: [], note: empty })).toMatchObject({ status: 200 })
      log.append('a')
      expect(await send({ from: 0, proof: [hash(1)], note: log.sign(testKey) })).toMatchObject({ status: 422 })
      expect(await send({ from: 0, proof: [], note: log.sign(testKey) })).toMatchObject({ status: 200 })
    }))

  it('refuses an empty tree with the root of another', () =>
    withWitness([testKey.vkey], async ({ send }) => {
      const note = signNote(`${testKey.name}\n0\n${Buffer.from(hash(1)).toString('base64')}\n`, [testKey])
      expect(await send({ from: 0, proof: [], note })).toMatchObject({ status: 422 })
    }))

  it('cosigns the same head again at a later time, and refuses another head of its size, keeping both as evidence', () =>
    withWitness([testKey.vkey], async ({ send, clock, deps, store }) => {
      const [log, other] = [logOf('a', 'b'), logOf('a', 'c')]
      const note = log.sign(testKey)
      const first = await send({ from: 0, proof: [], note })
      const written = store.latest(testKey.name)
      expect(await send({ from: 2, proof: [], note })).toEqual(first)
      expect(store.latest(testKey.name)).toBe(written)
      await clock.advance(1000)
      const again = await send({ from: 2, proof: [], note })
      expect(again).toMatchObject({ status: 200 })
      expect(again).not.toEqual(first)
      expect(await send({ from: 2, proof: [hash(1)], note })).toMatchObject({ status: 422 })
      const errors: Record<string, unknown>[] = []
      const log2 = { ...deps.log, error: (fields: Record<string, unknown>) => void errors.push(fields) }
      const forged = { from: 2, proof: [], note: other.sign(testKey) }
      expect(await addCheckpoint(bodyOf(forged), { ...deps, log: log2 })).toMatchObject({ status: 422 })
      await addCheckpoint(bodyOf(forged), { ...deps, log: log2 })
      expect(errors).toHaveLength(1)
      for (const which of ['cosigned', 'refused']) {
        const signed = verifySignatures(splitNote(String(errors[0]?.[which])), [parseVkey(testKey.vkey)])
        expect(signed).toHaveLength(1)
      }
    }))

  it('shows a head with the signatures that verified, and drops those of strangers', () =>
    withWitness([testKey.vkey], async ({ send, store }) => {
      const signed = logOf('a').sign(testKey)
      const stranger = parseSkey(monkeys.skey)
      const text = signed.slice(0, signed.indexOf('\n\n') + 1)
      const note = signNote(text, [stranger, testKey, testKey])
      const answer = await send({ from: 0, proof: [], note })
      expect(answer.status === 200 && `${signed}${answer.cosignature}`).toBe(store.latest(testKey.name)?.note)
    }))

  it('takes any key that the log may sign with, as while it changes its key', () =>
    withWitness([testKey.vkey], async ({ deps }) => {
      const keys = [parseVkey(testKey.vkey), parseVkey(monkeys.vkey)]
      const both = { ...deps, logs: new Map([[testKey.name, keys]]) }
      const log = logOf('a')
      const text = log.sign(testKey).split('\n\n')[0] ?? ''
      const byOther = signNote(`${text}\n`, [parseSkey(monkeys.skey)])
      expect(await addCheckpoint(bodyOf({ from: 0, proof: [], note: log.sign(testKey) }), both)).toMatchObject({
        status: 200,
      })
      expect(await addCheckpoint(bodyOf({ from: 1, proof: [], note: byOther }), both)).toMatchObject({ status: 200 })
    }))

  it('answers 403 when a signature of the log is missing, unreadable or wrong, a right one beside it or not', () =>
    withWitness([testKey.vkey], async ({ send, store }) => {
      const note = logOf('a').sign(testKey)
      const at = note.indexOf('— ')
      const line = note.slice(at)
      const wrong = logOf('b').sign(testKey).slice(at)
      for (const block of ['', wrong, line + wrong, `${line}hello\n`, line.slice(0, -1), line.replace('=', '')]) {
        expect(await send({ from: 0, proof: [], note: note.slice(0, at) + block })).toMatchObject({ status: 403 })
      }
      expect(store.latest(testKey.name)).toBeUndefined()
    }))

  const good = bodyOf({ from: 0, proof: [], note: logOf('a').sign(testKey) }).toString()
  it.each([
    ['nothing', ''],
    ['no empty line', good.replace('\n\n', '\n')],
    ['no old size', good.replace('old 0\n', '')],
    ['an old size with a leading zero', good.replace('old 0', 'old 00')],
    ['an old size with a sign', good.replace('old 0', 'old -1')],
    ['an old size beyond what a number holds', good.replace('old 0', 'old 9007199254740993')],
    ['an old size greater than its own', good.replace('old 0', 'old 2')],
    ['a proof line that is no hash', good.replace('\n\n', '\nabc=\n\n')],
    ['a proof line that is no base64', good.replace('\n\n', '\n!\n\n')],
    ['64 proof lines', good.replace('\n\n', `\n${`${Buffer.from(hash(1)).toString('base64')}\n`.repeat(64)}\n`)],
    ['carriage returns', good.replaceAll('\n', '\r\n')],
    ['a signed text that is no checkpoint', `old 0\n\n${signNote(`${testKey.name}\nhello\n`, [testKey])}`],
    ['more than it reads', `old 0\n\n${'x'.repeat(200_000)}`],
  ])('answers 400 to %s, and quotes nothing', (_, body) =>
    withWitness([testKey.vkey], async ({ deps }) => {
      const answer = await addCheckpoint(Buffer.from(body), deps)
      expect(answer).toMatchObject({ status: 400 })
      expect(deps.store.latest(testKey.name)).toBeUndefined()
    }),
  )

  it('answers 400 to bytes that are not UTF-8', () =>
    withWitness([testKey.vkey], async ({ deps }) => {
      expect(await addCheckpoint(Buffer.concat([Buffer.from(good), Buffer.of(0xff)]), deps)).toMatchObject({
        status: 400,
      })
    }))
})

describe('two requests at once', () => {
  it('never take the log back: the one that comes second is told the size that the first has left', () =>
    withWitness([testKey.vkey], async ({ send, deps, store }) => {
      const log = logOf('a')
      await send({ from: 0, proof: [], note: log.sign(testKey) })
      log.append('b', 'c', 'd', 'e')
      const requests = await Promise.all(
        [3, 5].map(async (size) => ({ from: 1, proof: await log.prove(1, size), note: log.sign(testKey, size) })),
      )
      // The smaller one is checked first, and held until the larger one stands in the store.
      const held = Promise.withResolvers<void>()
      const checked = Promise.withResolvers<void>()
      const stalling: typeof deps.store = {
        latest: store.latest,
        async advance(...given) {
          checked.resolve()
          await held.promise
          return store.advance(...given)
        },
      }
      const [smaller = { from: 0, proof: [], note: '' }, larger = smaller] = requests
      const first = addCheckpoint(bodyOf(smaller), { ...deps, store: stalling })
      await checked.promise
      expect(await send(larger)).toMatchObject({ status: 200 })
      held.resolve()
      expect(await first).toEqual({ status: 409, size: 5 })
      expect(store.latest(testKey.name)?.size).toBe(5)
    }))

  it('of one head let one through and tell the others its size', () =>
    withWitness([testKey.vkey], async ({ send }) => {
      const log = logOf('a', 'b', 'c')
      const answers = await Promise.all(
        [1, 2, 3, 3, 2, 1].map((size) => send({ from: 0, proof: [], note: log.sign(testKey, size) })),
      )
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
      expect(answers.filter(({ status }) => status === 409)).toHaveLength(5)
    }))
})
