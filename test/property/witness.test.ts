import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { NoteError, signNote } from '../../src/ledger/log/note.ts'
import { type AddCheckpoint, formatAddCheckpoint, parseAddCheckpoint } from '../../src/ledger/log/witness-protocol.ts'
import { addCheckpoint } from '../../src/witness/add-checkpoint.ts'
import { fakeClock } from '../support/clock.ts'
import { testKey, withFolder } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { bodyOf, logsOf, openTestStore, witnessKey } from '../support/witness.ts'

const logs = logsOf(testKey.vkey)
const witness = parseWitnessVkey(witnessKey.vkey)
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })

/** Histories of one log that lies: each leaves the first at some entry and goes on by itself. */
const histories = fc
  .record({
    size: fc.integer({ min: 1, max: 12 }),
    forks: fc.array(fc.record({ at: fc.nat(12), more: fc.integer({ min: 1, max: 8 }) }), {
      minLength: 1,
      maxLength: 3,
    }),
  })
  .map(({ size, forks }) => {
    const leavesOf = (name: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${name}${n}`)
    const main = leavesOf('main', size)
    return [main, ...forks.map(({ at, more }, n) => [...main.slice(0, at), ...leavesOf(`fork${n} `, more)])].map(
      (leaves) => {
        const log = memoryLog()
        log.append(...leaves)
        return log
      },
    )
  })

/** One request: an honest one about one of the histories, or one with a part of another. */
const attempt = fc.record({
  history: fc.nat(3),
  size: fc.nat(20),
  /** What it says the witness has; mostly the truth. */
  from: fc.option(fc.nat(20), { freq: 3 }),
  proof: fc.oneof(
    { weight: 4, arbitrary: fc.constant('right' as const) },
    { weight: 1, arbitrary: fc.record({ of: fc.nat(3), from: fc.nat(20), to: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.array(hash, { maxLength: 6 }) },
  ),
})

const rounds = fc.array(
  fc.record({ together: fc.array(attempt, { minLength: 1, maxLength: 4 }), restart: fc.boolean() }),
  {
    minLength: 1,
    maxLength: 8,
  },
)

describe('a witness, whatever it is asked in whatever order', () => {
  it(
    'never cosigns two heads of one log that contradict each other, and never a smaller one after a larger',
    { timeout: 240_000 },
    () =>
      fc.assert(
        fc.asyncProperty(histories, rounds, (of, asked) =>
          withFolder(async (dir) => {
            const cosigned: { history: (typeof of)[number]; size: number }[] = []
            const clock = fakeClock()
            let store = await openTestStore(join(dir, 'w'), logs)
            for (const { together, restart } of asked) {
              const known = store.latest(testKey.name)?.size ?? 0
              const taken = await Promise.all(
                together.map(async ({ history: at, size: wanted, from, proof }) => {
                  const history = of[at % of.length] ?? memoryLog()
                  const size = wanted % (history.size + 1)
                  const old = from ?? known
                  const parts = proof === 'right' ? { of: at, from: old, to: size } : proof
                  const request = {
                    from: old,
                    proof: 'of' in parts ? await proofOf(of[parts.of % of.length], parts.from, parts.to) : parts,
                    note: history.sign(testKey, size),
                  }
                  const answer = await addCheckpoint(bodyOf(request), {
                    logs,
                    store,
                    contradicted: new WeakSet(),
                    key: witnessKey,
                    clock,
                    log: silentLog,
                  })
                  return answer.status === 200 ? [{ history, size }] : []
                }),
              )
              for (const head of taken.flat()) expect(head.size).toBeGreaterThanOrEqual(known)
              cosigned.push(...taken.flat())
              await clock.advance(500)
              if (!restart) continue
              await store.close()
              store = await openTestStore(join(dir, 'w'), logs)
            }
            await store.close()
            for (const one of cosigned) {
              for (const other of cosigned) {
                if (one.size > other.size) continue
                expect(Buffer.from(other.history.root(one.size))).toEqual(Buffer.from(one.history.root(one.size)))
              }
            }
          }),
        ),
        { numRuns: 150 },
      ),
  )
})

/** A true proof, of whatever history, or none where there is none to be had. */
const proofOf = async (log: ReturnType<typeof memoryLog> | undefined, from: number, to: number) =>
  log === undefined || from > to || to > log.size ? [] : log.prove(from, to)

describe('the request of a log', () => {
  it('is read back as it was written', () => {
    const note = signNote('o\n', [testKey])
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.array(hash, { maxLength: 63 }), (from, proof) => {
        const read = parseAddCheckpoint(bodyOf({ from, proof, note }))
        expect({ ...read, proof: read.proof.map((one) => Buffer.from(one).toString('hex')) }).toEqual({
          from,
          proof: proof.map((one) => Buffer.from(one).toString('hex')),
          note,
        })
      }),
    )
  })

  const sound = formatAddCheckpoint({ from: 7, proof: [new Uint8Array(32)], note: signNote('o\n', [testKey]) })
  const mangled = fc
    .tuple(fc.nat(sound.length), fc.nat(12), fc.string({ maxLength: 12, unit: 'binary' }))
    .map(([at, cut, put]) => Buffer.from(sound.slice(0, at) + put + sound.slice(at + cut)))

  it('when mangled or arbitrary is read as nothing else than it says, or refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), mangled), (body) => {
        let read: AddCheckpoint
        try {
          read = parseAddCheckpoint(body)
        } catch (error) {
          expect(error).toBeInstanceOf(NoteError)
          return
        }
        expect(bodyOf(read)).toEqual(Buffer.from(body))
      }),
      { numRuns: 2000 },
    )
  })

  it('when mangled gets an answer and no cosignature for what its log did not sign', async () => {
    const log = memoryLog()
    log.append('a', 'b')
    const good = formatAddCheckpoint({ from: 0, proof: [], note: log.sign(testKey) })
    const root = Buffer.from(log.root()).toString('base64')
    await withFolder(async (dir) => {
      const store = await openTestStore(dir, logs)
      const deps = { logs, store, contradicted: new WeakSet(), key: witnessKey, clock: fakeClock(), log: silentLog }
      await fc.assert(
        fc.asyncProperty(
          fc.nat(good.length),
          fc.nat(12),
          fc.string({ maxLength: 12, unit: 'binary' }),
          async (at, cut, put) => {
            const answer = await addCheckpoint(Buffer.from(good.slice(0, at) + put + good.slice(at + cut)), deps)
            if (answer.status !== 200) return
            const text = `${testKey.name}\n2\n${root}\n`
            expect(cosignaturesOf(`${text}\n${answer.cosignature}`, [witness])).toHaveLength(1)
          },
        ),
        { numRuns: 500 },
      )
      await store.close()
    })
  })
})
