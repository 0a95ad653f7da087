import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** How much more than after the last collection may be in use before the next one. */
const mayGrow = { times: 1.1, bytes: 1024 * 1024 }

/**
 * What collects the garbage of this thread at once, when there is enough of it. Left to itself, V8 lets the heap of a thread that makes
 * much garbage grow to several times what is in use before it looks at the old part of it.
 */
export function createCollector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  let inUse = getHeapStatistics().used_heap_size
  return () => {
    if (getHeapStatistics().used_heap_size <= inUse * mayGrow.times + mayGrow.bytes) return
    collect()
    inUse = getHeapStatistics().used_heap_size
  }
}
