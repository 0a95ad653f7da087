import { messageOf } from './errors.ts'
import type { Log } from './log.ts'

/**
 * Has V8 collect everything and give pages back to the system. For the one moment after a start that read a long ledger:
 * nothing else would collect what that left until much later, and a broker that idles would hold it for good.
 * Blocks for about a second. Never rejects; does nothing where this Node has no inspector.
 */
export async function releaseMemory(log: Log): Promise<void> {
  try {
    // The same collection as a memory pressure notice. The session is within the process and opens no port.
    const { Session } = await import('node:inspector/promises')
    const session = new Session()
    session.connect()
    await session.post('HeapProfiler.collectGarbage')
    session.disconnect()
  } catch (error) {
    log.info({ error: messageOf(error) }, 'memory_not_released')
  }
}
