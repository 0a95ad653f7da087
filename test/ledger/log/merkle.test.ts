import { describe, expect, it } from 'vitest'
import { createTree, leafHash, nodeHash } from '../../../src/ledger/log/merkle.ts'
import { naiveRoot } from '../../support/naive-tree.ts'
import vectors from '../../vectors/merkle-rfc6962.json' with { type: 'json' }

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('Merkle tree (RFC 6962)', () => {
  it.each(vectors.leafHashes)('hashes the leaf $data as published', ({ data, hash }) => {
    expect(hex(leafHash(Buffer.from(data, 'hex')))).toBe(hash)
  })

  it('has the published root at every published size', () => {
    const tree = createTree()
    const roots = [hex(tree.root())]
    for (const leaf of vectors.leaves) {
      tree.append(leafHash(Buffer.from(leaf, 'hex')))
      roots.push(hex(tree.root()))
    }
    expect(roots).toEqual(vectors.roots)
  })

  it('equals the recursive definition for every size to 256 and across a power of two', () => {
    const tree = createTree()
    const leaves: Buffer[] = []
    for (let size = 1; size <= 1030; size++) {
      const leaf = Buffer.from(`leaf ${size}`)
      leaves.push(leaf)
      tree.append(leafHash(leaf))
      expect(tree.size).toBe(size)
      if (size <= 256 || size >= 1020) expect(hex(tree.root())).toBe(hex(naiveRoot(leaves)))
    }
  })

  it('keeps leaves apart from nodes: a leaf that spells a node does not hash as one', () => {
    const [left, right] = [leafHash(Buffer.from('a')), leafHash(Buffer.from('b'))]
    expect(hex(leafHash(Buffer.concat([left, right])))).not.toBe(hex(nodeHash(left, right)))
  })
})
