import type { PublishedLog } from '../log/published.ts'
import { createReceipt } from '../log/receipt.ts'

/** Longest wait for a checkpoint that covers an entry; ten times as long as one usually takes. */
const mostMs = 1_000

/** The receipt of a durable entry as soon as a checkpoint covers it; `undefined` when none does within a second. */
export async function awaitReceipt(log: PublishedLog, index: number): Promise<string | undefined> {
  return (await log.covered(index, mostMs)) ? createReceipt(log, index) : undefined
}
