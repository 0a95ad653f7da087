import { join } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { Secret } from '../base/secret.ts'
import type { Generation, GenerationStore } from '../engines/generation.ts'
import type { Box } from '../ledger/seal.ts'
import { nodeDisk, readSmallFile, replaceFile } from '../ledger/store/disk.ts'

/**
 * The file `vault-tokens` beside the ledger, sealed with the broker's key (a compact JWE) and closed to others (mode 0600): the
 * broker's Vault tokens, so that a restart goes on with them and leases do not end for want of renewal. Only the broker that
 * holds the ledger's lock writes it. Whoever removes it makes the next start log in anew; leases of before then end with
 * their tokens.
 */
export function keptTokens(options: { readonly dir: string; readonly box: Box; readonly log: Log }): GenerationStore {
  const { box, log } = options
  const path = join(options.dir, 'vault-tokens')

  async function write(generations: readonly Generation[]): Promise<void> {
    const content: z.input<typeof contentSchema> = { v: 1, generations: generations.map(plain) }
    try {
      await replaceFile(nodeDisk, path, Buffer.from(`${box.seal(JSON.stringify(content))}\n`), 0o600)
    } catch (error) {
      log.error({ path, error: messageOf(error) }, 'vault.tokens_not_kept')
    }
  }

  let saving = Promise.resolve()
  return {
    async load() {
      try {
        const bytes = await readSmallFile(nodeDisk, path, maxFileBytes)
        if (bytes === undefined) return []
        const text = await box.open(bytes.toString('latin1').trim())
        return contentSchema.parse(JSON.parse(text)).generations.map(revived)
      } catch {
        // What went wrong may quote what is in the file.
        log.error({ path }, 'vault.tokens_unreadable')
        return []
      }
    },
    /** One after the other, so that the last state is the one that stays. */
    save(generations) {
      const snapshot = [...generations]
      saving = saving.then(() => write(snapshot))
      return saving
    },
  }
}

const maxFileBytes = 1024 * 1024

// What never comes has no instant in JSON.
const instant = z.number().nullable()
const generationSchema = z.strictObject({
  number: z.int().positive(),
  token: z.string().min(1),
  by: z.string(),
  given: z.boolean(),
  born: z.number(),
  superseded: instant,
  full_ttl: z.number().nonnegative(),
  renewable: z.boolean(),
  expires: instant,
  ends: instant,
})
const contentSchema = z.strictObject({ v: z.literal(1), generations: z.array(generationSchema).max(1000) })

function plain({ number, token, by, given, bornAtMs, supersededAtMs, life }: Generation) {
  return {
    number,
    token: token.reveal(),
    by,
    given,
    born: bornAtMs,
    superseded: supersededAtMs ?? null,
    full_ttl: life.fullTtlSeconds,
    renewable: life.renewable,
    expires: Number.isFinite(life.expiresAtMs) ? life.expiresAtMs : null,
    ends: Number.isFinite(life.endsAtMs) ? life.endsAtMs : null,
  }
}

function revived(kept: z.output<typeof generationSchema>): Generation {
  return {
    number: kept.number,
    token: new Secret(kept.token),
    by: kept.by,
    given: kept.given,
    bornAtMs: kept.born,
    supersededAtMs: kept.superseded ?? undefined,
    life: {
      fullTtlSeconds: kept.full_ttl,
      renewable: kept.renewable,
      expiresAtMs: kept.expires ?? Number.POSITIVE_INFINITY,
      endsAtMs: kept.ends ?? Number.POSITIVE_INFINITY,
    },
  }
}
