import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Entry } from '../entry.ts'
import type { Position, StoredEntry } from '../ledger.ts'

/** Those who want to hear of each durable entry. One that throws is logged and harms nobody else. */
export interface Listeners {
  add(listener: (stored: StoredEntry) => void): () => void
  tell(batch: readonly { readonly entry: Entry; readonly position: Position }[]): void
}

export function createListeners(log: Log): Listeners {
  const listeners = new Map<symbol, (stored: StoredEntry) => void>()
  return {
    add(listener) {
      const id = Symbol()
      listeners.set(id, listener)
      return () => listeners.delete(id)
    },
    tell(batch) {
      if (listeners.size === 0) return
      for (const { entry, position } of batch) {
        const stored = { index: position.index, leafHash: position.leafHash, entry }
        for (const listener of listeners.values()) {
          try {
            listener(stored)
          } catch (error) {
            log.error({ index: stored.index, error: messageOf(error) }, 'ledger.listener_failed')
          }
        }
      }
    },
  }
}
