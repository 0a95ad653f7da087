import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { createSealer, openSealKey } from '../../src/ledger/seal.ts'
import { origin, withFolder } from '../support/ledger.ts'

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

describe('key files', () => {
  it('are made with mode 0600 when missing, and read back the same', () =>
    withFolder(async (dir) => {
      const file = join(dir, 'keys', 'ledger.key')
      const made = await openLedgerKey({ file, origin, create: true })
      expect(await modeOf(file)).toBe(0o600)
      expect((await openLedgerKey({ file, origin, create: false })).vkey).toBe(made.vkey)
      expect(await readdir(join(dir, 'keys'))).toEqual(['ledger.key'])
    }))

  it('are the same for all who start at once: nobody signs with a key that another has replaced', () =>
    withFolder(async (dir) => {
      const file = join(dir, 'ledger.key')
      const all = await Promise.all(Array.from({ length: 8 }, () => openLedgerKey({ file, origin, create: true })))
      expect(new Set(all.map(({ vkey }) => vkey)).size).toBe(1)
      expect(await readdir(dir)).toEqual(['ledger.key'])
    }))

  it.each([0o640, 0o604, 0o660, 0o644])('of mode %o are refused, with what to do', (mode) =>
    withFolder(async (dir) => {
      const file = join(dir, 'ledger.key')
      await openLedgerKey({ file, origin, create: true })
      const text = await readFile(file, 'utf8')
      await chmod(file, mode)
      const opening = openLedgerKey({ file, origin, create: true })
      await expect(opening).rejects.toMatchObject({ code: 'ledger_unavailable' })
      await expect(opening).rejects.toThrow(`chmod 600`)
      expect(await readFile(file, 'utf8')).toBe(text)
      await expect(openSealKey(file)).rejects.toThrow('chmod 600')
    }),
  )

  it('are not made where they must exist', () =>
    withFolder(async (dir) => {
      const opening = openLedgerKey({ file: join(dir, 'none'), origin, create: false })
      await expect(opening).rejects.toThrow('does not exist')
    }))

  it('of another log, or of no key at all, are refused without quoting them', () =>
    withFolder(async (dir) => {
      const file = join(dir, 'ledger.key')
      await openLedgerKey({ file, origin: 'other.test/ledger', create: true })
      await expect(openLedgerKey({ file, origin, create: true })).rejects.toThrow('is for other.test/ledger')
      await writeFile(file, 'PRIVATE+KEY+CANARY')
      const fault: unknown = await openLedgerKey({ file, origin, create: true }).catch((error: unknown) => error)
      expect(String(fault)).toContain('holds no ledger key')
      expect(String(fault)).not.toContain('CANARY')
    }))
})

describe('sealed lease handles', () => {
  const handle = { type: 'lease', id: 'database/creds/orders-ro/CANARYCANARY' } as const
  const key = Buffer.alloc(32, 3)

  it('open again to the same handle, and two seals of one handle differ but share its hash', async () => {
    const sealer = createSealer(key)
    const [first, second] = [sealer.seal(handle), sealer.seal(handle)]
    expect(await sealer.open(first.sealed)).toEqual(handle)
    expect(first.hash).toBe(second.hash)
    expect(first.hash).toBe(sealer.hashOf({ id: handle.id, type: 'lease' }))
    expect(first.sealed).not.toBe(second.sealed)
  })

  it('are compact JWE (dir, A256GCM) that name their key and show nothing of the handle', async () => {
    const { sealed } = createSealer(key).seal(handle)
    const [header = '', encryptedKey, ...rest] = sealed.split('.')
    expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toEqual({
      alg: 'dir',
      enc: 'A256GCM',
      kid: expect.stringMatching(/^[0-9a-f]{16}$/),
    })
    expect(encryptedKey).toBe('')
    expect(rest).toHaveLength(3)
    expect(Buffer.from(sealed.split('.').join(''), 'base64url').toString('latin1')).not.toContain('CANARY')
  })

  it('stay readable after the key is rotated, as long as the old one is at hand', async () => {
    const { sealed } = createSealer(key).seal(handle)
    const rotated = createSealer(Buffer.alloc(32, 4), [key])
    expect(await rotated.open(sealed)).toEqual(handle)
    expect(await rotated.open(rotated.seal(handle).sealed)).toEqual(handle)
    await expect(createSealer(Buffer.alloc(32, 4)).open(sealed)).rejects.toMatchObject({ code: 'internal' })
  })

  it('do not open when any part was altered, and the fault says nothing of them', async () => {
    const sealer = createSealer(key)
    const { sealed } = sealer.seal(handle)
    for (let at = 0; at < sealed.length - 1; at += 7) {
      const other = sealed[at] === 'A' ? 'B' : 'A'
      const fault: unknown = await sealer.open(sealed.slice(0, at) + other + sealed.slice(at + 1)).then(
        () => 'opened',
        (error: unknown) => error,
      )
      expect(fault, `character ${at}`).toMatchObject({ code: 'internal' })
      expect(fault).not.toHaveProperty('cause')
    }
  })

  it('take keys of 32 random bytes from a file that is made when missing', () =>
    withFolder(async (dir) => {
      const file = join(dir, 'seal.key')
      const made = await openSealKey(file)
      expect(made).toHaveLength(32)
      expect(await modeOf(file)).toBe(0o600)
      expect(await openSealKey(file)).toEqual(made)
    }))
})
