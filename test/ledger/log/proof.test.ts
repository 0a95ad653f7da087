import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  consistencyProof,
  inclusionProof,
  type Proof,
  ProofError,
  verifyConsistency,
  verifyInclusion,
} from '../../../src/ledger/log/proof.ts'
import type { Subtrees } from '../../../src/ledger/log/subtrees.ts'
import { naiveConsistency, naiveInclusion, naiveRootOfHashes } from '../../support/naive-tree.ts'
import { decimalLog } from '../../support/tile-log.ts'
import verdicts from '../../vectors/merkle-verdicts.json' with { type: 'json' }
import vectors from '../../vectors/tlog-go.json' with { type: 'json' }

const bytesOf = (base64: string): Buffer => Buffer.from(base64, 'base64')
const hashAt = (at: number): Buffer => bytesOf(verdicts.hashes[at] ?? '')
const digest = (proof: Proof): string => createHash('sha256').update(Buffer.concat(proof)).digest('hex')
const textOf = (proof: Proof): string[] => proof.map((hash) => Buffer.from(hash).toString('hex'))

/** Whether a check passes; anything but a `ProofError` is a failure of the test. */
function holds(check: () => void): boolean {
  try {
    check()
    return true
  } catch (error) {
    expect(error).toBeInstanceOf(ProofError)
    return false
  }
}

const flipped = (hash: Uint8Array, bit: number): Buffer => {
  const bytes = Buffer.from(hash)
  bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return bytes
}

describe('proofs made from tiles', () => {
  it.each(vectors.sizes)('of $size entries are those an independent implementation makes', async (vector) => {
    const { subtrees } = decimalLog(vector.size)
    for (const { index, hashes, sha256 } of vector.inclusion) {
      const proof = await inclusionProof(subtrees, index, vector.size)
      expect({ hashes: proof.length, sha256: digest(proof) }, `entry ${index}`).toEqual({ hashes, sha256 })
    }
    for (const { from, hashes, sha256 } of vector.consistency) {
      const proof = await consistencyProof(subtrees, from, vector.size)
      expect({ hashes: proof.length, sha256: digest(proof) }, `from ${from}`).toEqual({ hashes, sha256 })
    }
  })

  it('are those of the RFC for every entry of every size to 64, and hold', async () => {
    const { subtrees, leafHashes } = decimalLog(64)
    for (let size = 1; size <= 64; size++) {
      const hashes = leafHashes.slice(0, size)
      const root = naiveRootOfHashes(hashes)
      for (const [index, leafHash] of hashes.entries()) {
        const proof = await inclusionProof(subtrees, index, size)
        expect(textOf(proof)).toEqual(textOf(naiveInclusion(index, hashes)))
        verifyInclusion({ index, leafHash, size, root }, proof)
      }
      for (let from = 1; from <= size; from++) {
        const proof = await consistencyProof(subtrees, from, size)
        expect(textOf(proof)).toEqual(textOf(naiveConsistency(from, hashes)))
        verifyConsistency({ size: from, root: naiveRootOfHashes(hashes.slice(0, from)) }, { size, root }, proof)
      }
    }
  })

  it('hold for every entry and every pair of sizes to 257', { timeout: 120_000 }, async () => {
    const { leafHashes } = decimalLog(257)
    const subtrees = remembering(decimalLog(257).subtrees)
    for (let size = 1; size <= 257; size++) {
      const root = await subtrees.root(0, size)
      for (const [index, leafHash] of leafHashes.slice(0, size).entries()) {
        verifyInclusion({ index, leafHash, size, root }, await inclusionProof(subtrees, index, size))
      }
      for (let from = 1; from <= size; from++) {
        const proof = await consistencyProof(subtrees, from, size)
        verifyConsistency({ size: from, root: await subtrees.root(0, from) }, { size, root }, proof)
      }
    }
  })

  it('of a smaller size come from the tiles of the larger log', async () => {
    const large = decimalLog(70_000)
    const small = decimalLog(65_537)
    for (const index of [0, 65_535, 65_536]) {
      const proof = await inclusionProof(large.subtrees, index, 65_537)
      expect(textOf(proof)).toEqual(textOf(await inclusionProof(small.subtrees, index, 65_537)))
    }
  })

  it.each([
    [0, 0],
    [5, 5],
    [-1, 5],
    [0.5, 5],
    [0, 6],
    [Number.NaN, 5],
    [0, Number.NaN],
  ])('are refused for entry %d of %d where there are 5', async (index, size) => {
    await expect(inclusionProof(decimalLog(5).subtrees, index, size)).rejects.toThrow(RangeError)
  })

  it.each([
    [6, 5],
    [-1, 5],
    [1.5, 5],
    [1, 6],
    [Number.NaN, 5],
  ])('are refused from %d to %d where there are 5', async (from, size) => {
    await expect(consistencyProof(decimalLog(5).subtrees, from, size)).rejects.toThrow(RangeError)
  })
})

describe('checking a proof', () => {
  it('of inclusion ends as two independent implementations say', () => {
    for (const { why, index, size, leaf, root, proof, holds: expected } of verdicts.inclusion) {
      const of = { index: Number(index), size: Number(size), leafHash: hashAt(leaf), root: hashAt(root) }
      expect(
        holds(() => verifyInclusion(of, proof.map(hashAt))),
        `${why}, ${index} of ${size}`,
      ).toBe(expected)
    }
  })

  it('of consistency ends as two independent implementations say', () => {
    for (const { why, from, size, earlier, later, proof, holds: expected } of verdicts.consistency) {
      const [old, present] = [
        { size: Number(from), root: hashAt(earlier) },
        { size: Number(size), root: hashAt(later) },
      ]
      expect(
        holds(() => verifyConsistency(old, present, proof.map(hashAt))),
        `${why}, ${from} to ${size}`,
      ).toBe(expected)
    }
  })

  // What follows from nothing is for the protocol around a proof to say.
  it('of consistency with a log of no entries is refused, even without a hash in it', () => {
    const { root } = decimalLog(3)
    const nothing = { size: 0, root: decimalLog(0).root }
    expect(() => verifyConsistency(nothing, { size: 3, root }, [])).toThrow('cannot extend one of 0')
    expect(() => verifyConsistency(nothing, nothing, [])).toThrow('cannot extend one of 0')
  })

  it.each([2 ** 53, 2 ** 64 - 1, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'is refused for the number %d, which is no index or size',
    (number) => {
      const { root, leafHashes } = decimalLog(1)
      const leafHash = leafHashes[0] ?? Buffer.of()
      expect(() => verifyInclusion({ index: number, size: 1, leafHash, root }, [])).toThrow(ProofError)
      expect(() => verifyInclusion({ index: 0, size: number, leafHash, root }, [])).toThrow(ProofError)
      expect(() => verifyConsistency({ size: number, root }, { size: 1, root }, [])).toThrow(ProofError)
      expect(() => verifyConsistency({ size: 1, root }, { size: number, root }, [])).toThrow(ProofError)
    },
  )

  it('fails with any bit of any hash, the leaf or a root flipped', { timeout: 60_000 }, async () => {
    for (const size of [1, 2, 3, 7, 8, 11]) {
      const log = decimalLog(size)
      for (const [index, leafHash] of log.leafHashes.entries()) {
        const proof = await inclusionProof(log.subtrees, index, size)
        const of = { index, leafHash, size, root: log.root }
        for (const [spoiltProof, spoilt] of spoiltEach(proof, leafHash, log.root)) {
          const [leaf, root] = spoilt
          expect(holds(() => verifyInclusion({ ...of, leafHash: leaf, root }, spoiltProof))).toBe(false)
        }
      }
      for (let from = 1; from < size; from++) {
        const proof = await consistencyProof(log.subtrees, from, size)
        const old = Buffer.from(await log.subtrees.root(0, from))
        for (const [spoiltProof, [earlier, later]] of spoiltEach(proof, old, log.root)) {
          const heads = [
            { size: from, root: earlier },
            { size, root: later },
          ] as const
          expect(holds(() => verifyConsistency(...heads, spoiltProof))).toBe(false)
        }
      }
    }
  })

  it('never throws anything but a ProofError, and never accepts hashes that nobody made', () => {
    const { root, leafHashes } = decimalLog(13)
    const hash = fc.uint8Array({ minLength: 0, maxLength: 70 })
    const proofs = fc.array(fc.oneof(hash, fc.uint8Array({ minLength: 32, maxLength: 32 })), { maxLength: 70 })
    const number = fc.oneof(fc.nat(20), fc.double(), fc.maxSafeInteger())
    fc.assert(
      fc.property(number, number, hash, proofs, (index, size, leafHash, proof) => {
        expect(holds(() => verifyInclusion({ index, size, leafHash, root }, proof))).toBe(false)
        expect(holds(() => verifyConsistency({ size: index, root: leafHash }, { size, root }, proof))).toBe(false)
      }),
      { numRuns: 2000 },
    )
    expect(leafHashes).toHaveLength(13)
  })
})

// `testdata` of a clone of github.com/transparency-dev/merkle; docs/interop.md says how.
const published = process.env.MERKLE_TESTDATA ?? ''

describe.skipIf(published === '')('the vectors in MERKLE_TESTDATA', () => {
  // An index of 2^64 - 1 occurs; the nearest number is as far outside every tree.
  const vectorsOf = (kind: string) => {
    const names = readdirSync(join(published, kind), { recursive: true, encoding: 'utf8' })
    const files = names.filter((name) => name.endsWith('.json'))
    return files.map((name) => ({ name, ...JSON.parse(readFileSync(join(published, kind, name), 'utf8')) }))
  }
  const hash = (base64: string | null): Buffer => bytesOf(base64 ?? '')
  const hashes = (proof: readonly string[] | null): Buffer[] => (proof ?? []).map(bytesOf)

  it('of inclusion end as they say', () => {
    const all = vectorsOf('inclusion')
    for (const { name, leafIdx: index, treeSize: size, leafHash, root, proof, wantErr } of all) {
      const of = { index, size, leafHash: hash(leafHash), root: hash(root) }
      expect(
        holds(() => verifyInclusion(of, hashes(proof))),
        name,
      ).toBe(!wantErr)
    }
    expect(all).toHaveLength(98)
  })

  it('of consistency end as they say', () => {
    const all = vectorsOf('consistency')
    for (const { name, size1, size2, root1, root2, proof, wantErr } of all) {
      const [old, present] = [
        { size: size1, root: hash(root1) },
        { size: size2, root: hash(root2) },
      ]
      expect(
        holds(() => verifyConsistency(old, present, hashes(proof))),
        name,
      ).toBe(!wantErr)
    }
    expect(all).toHaveLength(98)
  })
})

/** The same roots, each computed once: a range occurs in many proofs. */
function remembering(subtrees: Subtrees): Subtrees {
  const roots = new Map<string, Promise<Uint8Array>>()
  return {
    ...subtrees,
    root(from, to) {
      const root = roots.get(`${from} ${to}`) ?? subtrees.root(from, to)
      roots.set(`${from} ${to}`, root)
      return root
    },
  }
}

/** A proof and two hashes beside it, each time with one bit flipped: all bits of the two hashes, some of the proof. */
function* spoiltEach(proof: Proof, one: Buffer, two: Buffer): Generator<[Proof, readonly [Buffer, Buffer]]> {
  for (let bit = 0; bit < 256; bit += 5) {
    yield [proof, [flipped(one, bit), two]]
    yield [proof, [one, flipped(two, bit)]]
    for (const [at, hash] of proof.entries()) yield [proof.with(at, flipped(hash, bit)), [one, two]]
  }
}
