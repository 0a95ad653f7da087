import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * What collects the garbage of this thread at once. Left to itself, V8 lets the heap of a thread that makes much garbage grow to several
 * times what is in use before it looks at the old part of it.
 */
export function createCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
